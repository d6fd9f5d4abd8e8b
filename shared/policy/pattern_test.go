package policy

import (
	"encoding/json"
	"strings"
	"testing"
)

// parseCaller parses a document whose only caller is pattern.
func parseCaller(t testing.TB, pattern string) error {
	t.Helper()
	value, err := json.Marshal(pattern)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Parse([]byte(`{"rules": [{"name": "a", "callers": [` + string(value) + `], "clients": ["c"]}]}`))
	return err
}

// TestCallerPatternMustBePossible proves that a pattern that cannot match a caller is
// refused, because it is a mistake.
func TestCallerPatternMustBePossible(t *testing.T) {
	for _, p := range []string{
		"billing-job", "role/x", "*", "d*", "sam-local:x", "direct:", "direct:a/b", "direct:a:b", "direct:a.b",
		"aws:billing:role/x", "aws:1111:role/x", "aws:1111222233334:role/x", "aws:1111222233334*:role/x",
		"gcp:111122223333:role/x", "aws:111122223333:*", "AWS:111122223333:role/x", "awsx:111122223333:role/x", "gcp*:111122223333:role/x",
		"aws:111122223333:roles/x", "aws:111122223333:group/x", "aws:111122223333:assumed-role/x", "aws:111122223333:root/x",
		"aws:111122223333:x*/y", "aws:111122223333:/x", "aws:111122223333:role/", "aws:111122223333:role/a/b",
		"arn:aws:iam::billing:role/x", "arn:gcp:iam::111122223333:role/x", "arn:aws:iam::111122223333:role/", "arn:aws:iam::111122223333:role/a/",
		"arn:aws:sts::111122223333:federated-user/x", "arn:aws:iam:eu-central-1:111122223333:role/x",
	} {
		if err := parseCaller(t, p); err == nil {
			t.Errorf("%s: got no error, want one", p)
		} else if !strings.Contains(err.Error(), "aws:111122223333:role/NAME") {
			t.Errorf("%s: got error %v, want it to show the form of a caller", p, err)
		}
	}
	for _, p := range []string{
		"direct", "direct:x", "direct:*", "sam-local", "aws:111122223333:root", "aws:111122223333:*/x", "aws*:*:role/x", "*:1111*:r*e/x", "aws-*:*:user/*",
		"aws-us-gov:111122223333:federated-user/a@b", "arn:aws:iam::111122223333:root", "arn:aws:iam::111122223333:user/team/ann", "arn:aws-cn:iam::*:role/x*",
	} {
		if err := parseCaller(t, p); err != nil {
			t.Errorf("%s: got error %v, want none", p, err)
		}
	}
}

func TestCaller(t *testing.T) {
	for _, test := range []struct{ text, want, problem string }{
		{"arn:aws:iam::111122223333:role/team/billing-job", "aws:111122223333:role/billing-job", ""},
		{"direct:batch", "direct:batch", ""},
		{"direct:*", "", "must name one caller"},
		{"billing job", "", "is no caller"},
		{"billing-job", "", "matches no caller"},
	} {
		got, err := Caller(test.text)
		if got != test.want || (err == nil) != (test.problem == "") || err != nil && !strings.HasPrefix(err.Error(), test.problem) {
			t.Errorf("%s: got %q, error %v; want %q, error %q", test.text, got, err, test.want, test.problem)
		}
	}
}
