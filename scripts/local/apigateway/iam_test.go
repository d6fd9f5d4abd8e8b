package apigateway

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestMatches(t *testing.T) {
	for _, tt := range []struct {
		pattern, s string
		want       bool
	}{
		{"a", "a", true}, {"a", "A", false}, {"a", "ab", false}, {"", "", true}, {"", "a", false},
		{"*", "", true}, {"*", "a/b", true}, {"a*", "a", true}, {"a*c", "abbc", true}, {"a*c", "abbd", false},
		{"a*b*c", "aXbYbc", true}, {"a?c", "abc", true}, {"a?c", "ac", false}, {"?", "", false}, {"a**", "a", true},
		{"*/POST/token/*", "arn/local/POST/token/x/y", true}, {"*/POST/token/?", "arn/local/POST/token/xy", false},
		{"[a]", "a", false}, {"a.c", "abc", false}, {"*a", "aab", false}, {"*ab", "aab", true},
		{strings.Repeat("a*", 1000) + "b", strings.Repeat("a", 5000), false},
	} {
		if got := matches(tt.pattern, tt.s); got != tt.want {
			t.Errorf("matches(%.20q, %.20q) = %v", tt.pattern, tt.s, got)
		}
	}
}

func TestNewRefuses(t *testing.T) {
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
			t.Errorf("%s: accepted", name)
			continue
		}
		for _, want := range []string{"Stage", "Invoke", "principal"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v does not name %s", name, err, want)
			}
		}
		if strings.Contains(err.Error(), "very-secret") {
			t.Errorf("%s: the secret is in the error", name)
		}
	}
}

func TestPrincipalPrintsNoSecret(t *testing.T) {
	p := Principal{AccessKeyID: "AKIA", SecretAccessKey: "hunter2", SessionToken: "hunter3", ARN: user}
	encoded, err := json.Marshal(Config{Principals: []Principal{p}}.Principals)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Principals: []Principal{p}}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", p, p, p, p), fmt.Sprintf("%v %+v %#v", cfg, cfg, cfg), string(encoded)} {
		if strings.Contains(text, "hunter") || !strings.Contains(text, "AKIA") {
			t.Error("a principal prints its secrets, or nothing")
		}
	}
}
