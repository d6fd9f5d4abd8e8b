package secretsmanager_test

import (
	"strings"
	"testing"
	"time"
)

// names gives the names of a list as one string.
func names(list []struct{ Name, SecretString string }) string {
	var all []string
	for _, entry := range list {
		all = append(all, entry.Name)
	}
	return strings.Join(all, " ")
}

func listed(t *testing.T) *direct {
	d := newDirect(t)
	for name, more := range map[string]string{
		"x/a": ",'Description':'The First'", "x/b": ",'Tags':[{'Key':'team','Value':'Shop'}]", "x/c": "", "y/a": "",
	} {
		d.now = time.Date(2026, 11, 1, int(name[0]-'w'), int(name[2]-'a'), 0, 0, time.UTC)
		d.ok("CreateSecret", "{'Name':'"+name+"','SecretString':'x'"+more+"}")
	}
	return d
}

func TestFilters(t *testing.T) {
	d := listed(t)
	for _, tt := range []struct{ name, body, want string }{
		{"none", "{}", "y/a x/c x/b x/a"},
		{"oldest first", "{'SortOrder':'asc'}", "x/a x/b x/c y/a"},
		{"name", "{'Filters':[{'Key':'name','Values':['x/']}]}", "x/c x/b x/a"},
		{"name, other case", "{'Filters':[{'Key':'name','Values':['X/']}]}", ""},
		{"one of two", "{'Filters':[{'Key':'name','Values':['y/','x/a']}]}", "y/a x/a"},
		{"not", "{'Filters':[{'Key':'name','Values':['!x/']}]}", "y/a"},
		{"both of two", "{'Filters':[{'Key':'name','Values':['x/']},{'Key':'description','Values':['the']}]}", "x/a"},
		{"tag's key", "{'Filters':[{'Key':'tag-key','Values':['te']}]}", "x/b"},
		{"tag's value", "{'Filters':[{'Key':'tag-value','Values':['Sh']}]}", "x/b"},
		{"tag's value, other case", "{'Filters':[{'Key':'tag-value','Values':['sh']}]}", ""},
		{"anywhere", "{'Filters':[{'Key':'all','Values':['shop']}]}", "x/b"},
		{"words anywhere", "{'Filters':[{'Key':'all','Values':['first X/A']}]}", "x/a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := names(d.in(t).ok("ListSecrets", tt.body).SecretList); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	d.fails("InvalidParameterException", "ListSecrets", "{'Filters':[{'Key':'colour','Values':['x']}]}")
	d.fails("InvalidParameterException", "ListSecrets", "{'Filters':[{'Key':'name'}]}")
	d.fails("InvalidParameterException", "ListSecrets", "{'SortOrder':'up'}")
	d.fails("InvalidParameterException", "ListSecrets", "{'MaxResults':101}")
	d.fails("InvalidNextTokenException", "ListSecrets", "{'NextToken':'x'}")
}

// TestPagesUnderChange: what comes and goes between two pages neither repeats
// nor hides another secret.
func TestPagesUnderChange(t *testing.T) {
	d := listed(t)
	first := d.ok("ListSecrets", "{'MaxResults':2}")
	d.now = d.now.Add(day)
	d.ok("CreateSecret", "{'Name':'new','SecretString':'x'}")
	d.ok("DeleteSecret", "{'SecretId':'x/c'}")
	second := d.ok("ListSecrets", "{'MaxResults':2,'NextToken':'"+first.NextToken+"'}")
	if got := names(first.SecretList) + " | " + names(second.SecretList); got != "y/a x/c | x/b x/a" || second.NextToken != "" {
		t.Errorf("pages are %s, next %q", got, second.NextToken)
	}
	if got := names(d.ok("ListSecrets", "{'IncludePlannedDeletion':true}").SecretList); got != "new y/a x/c x/b x/a" {
		t.Errorf("with planned deletions: %s", got)
	}
}

func TestPagesOfBatch(t *testing.T) {
	d := listed(t)
	d.ok("DeleteSecret", "{'SecretId':'x/c'}")
	const filters = "'Filters':[{'Key':'name','Values':['x/']}]"
	first := d.ok("BatchGetSecretValue", "{"+filters+",'MaxResults':1}")
	second := d.ok("BatchGetSecretValue", "{"+filters+",'MaxResults':1,'NextToken':'"+first.NextToken+"'}")
	if got := names(first.SecretValues) + " | " + names(second.SecretValues); got != "x/b | x/a" || second.NextToken != "" {
		t.Errorf("pages are %s, next %q", got, second.NextToken)
	}
	for _, body := range []string{"{}", "{'SecretIdList':['a']," + filters + "}", "{'SecretIdList':['a'],'MaxResults':1}", "{" + filters + ",'MaxResults':21}"} {
		d.fails("InvalidParameterException", "BatchGetSecretValue", body)
	}
}
