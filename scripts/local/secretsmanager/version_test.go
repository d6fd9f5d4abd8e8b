package secretsmanager_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

func vid(n int) string { return fmt.Sprintf("%032d", n) }

// TestVersionsAreDropped: a version without a label stays readable by its id
// until there are more than 100; one with a label stays for good.
func TestVersionsAreDropped(t *testing.T) {
	d := newDirect(t)
	d.ok("CreateSecret", "{'Name':'a','SecretString':'0','ClientRequestToken':'"+vid(0)+"'}")
	d.ok("UpdateSecretVersionStage", "{'SecretId':'a','VersionStage':'keep','MoveToVersionId':'"+vid(0)+"'}")
	put := func(n int) {
		d.ok("PutSecretValue", fmt.Sprintf("{'SecretId':'a','SecretString':'%d','ClientRequestToken':'%s'}", n, vid(n)))
	}
	for n := 1; n < 100; n++ {
		put(n)
	}
	if got := d.ok("GetSecretValue", "{'SecretId':'a','VersionId':'"+vid(1)+"'}"); got.SecretString != "1" || got.VersionStages != nil {
		t.Errorf("%+v", got)
	}
	put(100)
	d.fails("ResourceNotFoundException", "GetSecretValue", "{'SecretId':'a','VersionId':'"+vid(1)+"'}")
	for n, want := range map[int]string{0: "0", 2: "2", 100: "100"} {
		if got := d.ok("GetSecretValue", "{'SecretId':'a','VersionId':'"+vid(n)+"'}"); got.SecretString != want {
			t.Errorf("version %d holds %q", n, got.SecretString)
		}
	}
}

func TestVersionIsNeverChanged(t *testing.T) {
	d := newDirect(t)
	d.ok("CreateSecret", "{'Name':'a','SecretString':'one','ClientRequestToken':'"+vid(1)+"'}")
	d.ok("PutSecretValue", "{'SecretId':'a','SecretString':'two','ClientRequestToken':'"+vid(2)+"'}")
	for _, tt := range []struct{ name, operation, body, want string }{
		{"put, same", "PutSecretValue", "'SecretString':'one'", ""},
		{"put, same, other labels", "PutSecretValue", "'SecretString':'one','VersionStages':['AWSCURRENT']", ""},
		{"put, other", "PutSecretValue", "'SecretString':'other'", "ResourceExistsException"},
		{"put, same bytes as binary", "PutSecretValue", "'SecretBinary':'b25l'", "ResourceExistsException"},
		// UpdateSecret's page says that a known token is an error, whatever the value.
		{"update, same", "UpdateSecret", "'SecretString':'one'", "ResourceExistsException"},
		{"update, other", "UpdateSecret", "'SecretString':'other'", "ResourceExistsException"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := d.in(t).call(tt.operation, "{'SecretId':'a','ClientRequestToken':'"+vid(1)+"',"+tt.body+"}"); got.Type != tt.want {
				t.Errorf("error is %q, want %q", got.Type, tt.want)
			}
			stages := d.in(t).ok("DescribeSecret", "{'SecretId':'a'}").VersionIdsToStages
			if !slices.Equal(stages[vid(1)], []string{"AWSPREVIOUS"}) || !slices.Equal(stages[vid(2)], []string{"AWSCURRENT"}) {
				t.Errorf("labels are %v", stages)
			}
		})
	}
}

func TestFirstVersionIsCurrent(t *testing.T) {
	d := newDirect(t)
	d.ok("CreateSecret", "{'Name':'a'}")
	d.fails("ResourceNotFoundException", "GetSecretValue", "{'SecretId':'a'}")
	d.ok("PutSecretValue", "{'SecretId':'a','SecretString':'one','VersionStages':['AWSPENDING'],'RotationToken':'r'}")
	if got := d.ok("GetSecretValue", "{'SecretId':'a'}"); got.SecretString != "one" || !slices.Contains(got.VersionStages, "AWSPENDING") {
		t.Errorf("%+v", got)
	}
}

func TestBadVersions(t *testing.T) {
	d := newDirect(t)
	d.ok("CreateSecret", "{'Name':'a','SecretString':'one','ClientRequestToken':'"+vid(1)+"'}")
	var labels []string
	for n := range 21 {
		labels = append(labels, fmt.Sprintf("'l%d'", n))
	}
	for _, tt := range []struct{ name, want, operation, body string }{
		{"no value", "InvalidParameterException", "PutSecretValue", "{'SecretId':'a'}"},
		{"two values", "InvalidParameterException", "PutSecretValue", "{'SecretId':'a','SecretString':'x','SecretBinary':'eA=='}"},
		{"empty text", "InvalidParameterException", "PutSecretValue", "{'SecretId':'a','SecretString':''}"},
		{"empty binary", "InvalidParameterException", "PutSecretValue", "{'SecretId':'a','SecretBinary':''}"},
		{"short token", "InvalidParameterException", "PutSecretValue", "{'SecretId':'a','SecretString':'x','ClientRequestToken':'x'}"},
		{"21 labels", "LimitExceededException", "PutSecretValue", "{'SecretId':'a','SecretString':'x','VersionStages':[" + strings.Join(labels, ",") + "]}"},
		{"empty label", "InvalidParameterException", "PutSecretValue", "{'SecretId':'a','SecretString':'x','VersionStages':['']}"},
		{"long label", "InvalidParameterException", "UpdateSecretVersionStage", "{'SecretId':'a','MoveToVersionId':'" + vid(1) + "','VersionStage':'" + strings.Repeat("x", 257) + "'}"},
		{"no secret named", "InvalidParameterException", "GetSecretValue", "{}"},
		{"not base64", "SerializationException", "PutSecretValue", "{'SecretId':'a','SecretBinary':'!'}"},
		{"wrong type", "SerializationException", "PutSecretValue", "{'SecretId':1}"},
		{"not an object", "SerializationException", "PutSecretValue", "[]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d.in(t).fails(tt.want, tt.operation, tt.body)
		})
	}
	for n := range 19 {
		d.ok("UpdateSecretVersionStage", fmt.Sprintf("{'SecretId':'a','MoveToVersionId':'%s','VersionStage':'l%d'}", vid(1), n))
	}
	d.fails("LimitExceededException", "UpdateSecretVersionStage", "{'SecretId':'a','MoveToVersionId':'"+vid(1)+"','VersionStage':'l20'}")
}

// TestConcurrentCalls is for the race detector: answers must not share memory
// with what the next call changes.
func TestConcurrentCalls(t *testing.T) {
	d := newDirect(t)
	d.ok("CreateSecret", "{'Name':'a','SecretString':'one','ClientRequestToken':'"+vid(1)+"'}")
	d.ok("PutSecretValue", "{'SecretId':'a','SecretString':'two','ClientRequestToken':'"+vid(2)+"'}")
	var calls sync.WaitGroup
	for n := range 8 {
		calls.Go(func() {
			for range 20 {
				switch n % 4 {
				case 0:
					d.call("UpdateSecretVersionStage", "{'SecretId':'a','VersionStage':'AWSCURRENT','MoveToVersionId':'"+vid(1)+"','RemoveFromVersionId':'"+vid(2)+"'}")
					d.call("UpdateSecretVersionStage", "{'SecretId':'a','VersionStage':'AWSCURRENT','MoveToVersionId':'"+vid(2)+"','RemoveFromVersionId':'"+vid(1)+"'}")
				case 1:
					d.call("DescribeSecret", "{'SecretId':'a'}")
					d.call("GetSecretValue", "{'SecretId':'a'}")
				case 2:
					d.call("TagResource", "{'SecretId':'a','Tags':[{'Key':'k','Value':'v'}]}")
					d.call("UntagResource", "{'SecretId':'a','TagKeys':['k']}")
				case 3:
					d.call("ListSecrets", "{}")
					d.Server.Fail("Nothing", 1, "x")
				}
			}
		})
	}
	calls.Wait()
	if n := d.Calls("DescribeSecret"); n != 40 {
		t.Errorf("%d calls counted, want 40", n)
	}
}
