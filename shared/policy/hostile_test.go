package policy

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func callers(t testing.TB, pattern string) error {
	t.Helper()
	value, err := json.Marshal(pattern)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Parse([]byte(`{"rules": [{"name": "a", "callers": [` + string(value) + `], "clients": ["c"]}]}`))
	return err
}

// TestB154CallersThatAreNone: who writes a pattern that matches nobody meant somebody.
func TestB154CallersThatAreNone(t *testing.T) {
	for _, p := range []string{
		"billing-job", "role/x", "*", "d*", "sam-local:x", "direct:", "direct:a/b", "direct:a:b", "direct:a.b",
		"aws:billing:role/x", "aws:1111:role/x", "aws:1111222233334:role/x", "aws:1111222233334*:role/x",
		"gcp:111122223333:role/x", "aws:111122223333:*", "AWS:111122223333:role/x", "awsx:111122223333:role/x", "gcp*:111122223333:role/x",
		"aws:111122223333:roles/x", "aws:111122223333:group/x", "aws:111122223333:assumed-role/x", "aws:111122223333:root/x",
		"aws:111122223333:x*/y", "aws:111122223333:/x", "aws:111122223333:role/", "aws:111122223333:role/a/b",
		"arn:aws:iam::billing:role/x", "arn:gcp:iam::111122223333:role/x", "arn:aws:iam::111122223333:role/", "arn:aws:iam::111122223333:role/a/",
		"arn:aws:sts::111122223333:federated-user/x", "arn:aws:iam:eu-central-1:111122223333:role/x",
	} {
		if err := callers(t, p); err == nil {
			t.Errorf("%s is taken", p)
		} else if !strings.Contains(err.Error(), "aws:111122223333:role/NAME") {
			t.Errorf("%s: the form wanted isn't shown: %v", p, err)
		}
	}
	for _, p := range []string{
		"direct", "direct:x", "direct:*", "sam-local", "aws:111122223333:root", "aws:111122223333:*/x", "aws*:*:role/x", "*:1111*:r*e/x", "aws-*:*:user/*",
		"aws-us-gov:111122223333:federated-user/a@b", "arn:aws:iam::111122223333:root", "arn:aws:iam::111122223333:user/team/ann", "arn:aws-cn:iam::*:role/x*",
	} {
		if err := callers(t, p); err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
}

// TestB154Limits are sizes that are taken, and one more of each.
func TestB154Limits(t *testing.T) {
	lists := func(client, scope string, scopes int) string {
		return `{"rules": [{"name": "a", "callers": ["direct"], "clients": ["` + client + `"], "scopes": ["x"` + strings.Repeat(`, "`+scope+`"`, scopes-1) + `]}]}`
	}
	for _, test := range []struct{ fits, not, want string }{
		{lists(strings.Repeat("c", 63), "x", 1), lists(strings.Repeat("c", 64), "x", 1), "rules[0].clients has"},
		{lists("c", strings.Repeat("s", 2048), 2), lists("c", strings.Repeat("s", 2049), 2), "rules[0].scopes has an element that is empty or longer"},
		{lists("c", "x", 100), lists("c", "x", 101), "rules[0].scopes has more than 100"},
		{`{"rules": []}` + strings.Repeat(" ", maxDocument-13), `{"rules": []}` + strings.Repeat(" ", maxDocument-12), "the policy is larger"},
		{strings.Replace(lists("c", "x", 1), `"a"`, `"`+strings.Repeat("n", 63)+`"`, 1), strings.Replace(lists("c", "x", 1), `"a"`, `"`+strings.Repeat("n", 64)+`"`, 1), "rules[0].name must"},
	} {
		if _, err := Parse([]byte(test.fits)); err != nil {
			t.Errorf("%s: what fits: %v", test.want, err)
		}
		if _, err := Parse([]byte(test.not)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %q", err, test.want)
		}
	}
}

// TestB154AllAtOnce: a rule that is given wrongly hides no problem of another.
func TestB154AllAtOnce(t *testing.T) {
	_, err := Parse([]byte(`{"effect": "x", "rules": [{"name": "a", "name": "b"}, 1, {"name": "b_", "callers": [], "clients": ["^a"]}]}`))
	if err == nil {
		t.Fatal("taken")
	}
	for _, want := range []string{"effect must", "rules[0] is ambiguous: name is given twice", "rules[1] is not", "rules[2].name must", "rules[2].callers must", "rules[2].clients has"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

// TestS38Linear: twice the text takes twice the time, not four times; the limit is
// wide, since machines are busy.
func TestS38Linear(t *testing.T) {
	p, text := pattern("*"+strings.Repeat("a", 20_000)+"b"), strings.Repeat("a", 1_000_000)
	begin := time.Now()
	if p.matches(text) || !p.matches(text+"b") {
		t.Error("wrong")
	}
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("took %v", d)
	}
}

const canary = "CNRY9"

// marked returns v with the canary in every text.
func marked(v any) any {
	switch v := v.(type) {
	case string:
		return canary + v + canary
	case []any:
		for i := range v {
			v[i] = marked(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = marked(v[name])
		}
	}
	return v
}

// FuzzParseCanary puts a canary into every value: no problem may hold it.
func FuzzParseCanary(f *testing.F) {
	f.Add([]byte(teams))
	f.Add([]byte(`{"effect": "audit", "freeze": ["a"], "rules": [{"name": "a", "callers": ["direct"], "caller_ids": ["A"], "clients": ["b"], "x": "y"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var v any
		if json.Unmarshal(text, &v) != nil {
			return
		}
		out, err := json.Marshal(marked(v))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = Parse(out); err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("a problem holds a value: %v", err)
		}
	})
}

// FuzzMatchBytes compares with a table of prefixes, for texts of any bytes.
func FuzzMatchBytes(f *testing.F) {
	f.Add("a*:b*/c", "ax:by/c")
	f.Add("*ab*ab", "abab")
	f.Add("*:b", "a/b")
	f.Add("*/b", "a:b")
	f.Fuzz(func(t *testing.T, p, text string) {
		if len(p) > 200 || len(text) > 200 {
			return
		}
		// row[j]: what was read of the pattern matches text[:j].
		row := make([]bool, len(text)+1)
		row[0] = true
		for i := range len(p) {
			next := make([]bool, len(text)+1)
			for j := range next {
				switch {
				case p[i] == '*':
					next[j] = row[j] || j > 0 && next[j-1] && text[j-1] != ':' && text[j-1] != '/'
				case j > 0:
					next[j] = row[j-1] && p[i] == text[j-1]
				}
			}
			row = next
		}
		if want := text != "" && row[len(text)]; pattern(p).matches(text) != want {
			t.Errorf("%q on %q: %t", p, text, !want)
		}
	})
}
