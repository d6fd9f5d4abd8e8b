package apigateway

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestMatches(t *testing.T) {
	for _, tt := range []struct {
		pattern, arn string
		want         bool
	}{
		{"a", "a", true}, {"a", "A", false}, {"a", "ab", false}, {"", "a", false}, {"*", "", true}, {"*", "a/b", true},
		{"a*", "a", true}, {"a*", "a/b", true}, {"a*", "ba", false}, {"a.c", "abc", false}, {"a?", "ab", false},
	} {
		if got := matches(tt.pattern, tt.arn); got != tt.want {
			t.Errorf("matches(%q, %q) returns %v, want %v", tt.pattern, tt.arn, got, tt.want)
		}
	}
}

func TestNewReportsAllProblems(t *testing.T) {
	good := Principal{AccessKeyID: "AKIA", SecretAccessKey: "very-secret", ARN: user}
	with := func(change func(*Principal)) []Principal {
		p := good
		change(&p)
		return []Principal{p}
	}
	for name, principals := range map[string][]Principal{
		"twice":            {good, good},
		"no key":           with(func(p *Principal) { p.AccessKeyID = "" }),
		"no secret":        with(func(p *Principal) { p.SecretAccessKey = "" }),
		"no ARN":           with(func(p *Principal) { p.ARN = "" }),
		"role, no session": with(func(p *Principal) { p.ARN = "arn:aws:iam::111122223333:role/x" }),
		"session, no name": with(func(p *Principal) { p.ARN = "arn:aws:sts::111122223333:assumed-role/x" }),
		"root":             with(func(p *Principal) { p.ARN = "arn:aws:iam::111122223333:root" }),
	} {
		cfg := config(nil)
		cfg.Principals, cfg.Stage = principals, "a/b"
		s, err := New(cfg)
		if err == nil || s != nil {
			t.Errorf("%s: got no error", name)
			continue
		}
		for _, want := range []string{"Stage", "Invoke", "principal"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want it to name %s", name, err, want)
			}
		}
		if strings.Contains(err.Error(), "very-secret") {
			t.Errorf("%s: the error contains the secret", name)
		}
	}
}

func TestPrincipalIsPrintedWithoutSecrets(t *testing.T) {
	p := Principal{AccessKeyID: "AKIA", SecretAccessKey: "hunter2", SessionToken: "hunter3", ARN: user}
	encoded, err := json.Marshal(Config{Principals: []Principal{p}}.Principals)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Principals: []Principal{p}}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", p, p, p, p), fmt.Sprintf("%v %+v %#v", cfg, cfg, cfg), string(encoded)} {
		if strings.Contains(text, "hunter") || !strings.Contains(text, "AKIA") {
			t.Error("a printed principal contains its secrets or lacks its key id")
		}
	}
}
