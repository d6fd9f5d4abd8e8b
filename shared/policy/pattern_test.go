package policy

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// slowMatcher matches patterns with package regexp. It keeps the compiled patterns.
type slowMatcher map[string]*regexp.Regexp

// match matches with a regular expression for each star.
func (m slowMatcher) match(pattern, star, text string) bool {
	quoted := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, star)
	if m[quoted] == nil {
		m[quoted] = regexp.MustCompile(`(?s)\A(?:` + quoted + `)\z`)
	}
	return text != "" && m[quoted].MatchString(text)
}

func (m slowMatcher) matches(pattern, text string) bool { return m.match(pattern, `[^:/]*`, text) }

func (m slowMatcher) matchesURI(pattern, text string) bool {
	if !strings.Contains(pattern, "*") {
		return pattern == text && text != ""
	}
	return m.match(pattern, `[^:/?#@%\\]*`, text) && !slices.Contains(strings.Split(text, "/"), "..")
}

// TestPatternStarMatchesNoSeparator proves that no star matches ':' or '/', and that a
// pattern matches whole texts only.
func TestPatternStarMatchesNoSeparator(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"*", "a", true}, {"*", "a:b", false}, {"*", "a/b", false}, {"a*", "a", true}, {"a*c", "abc", true}, {"a*c", "abcd", false},
		{"*a/*b", "xa/yb", true}, {"*a/*b", "xa/ya/yb", false}, {"*ab", "aab", true}, {"*aab", "aaaab", true}, {"a*a*a", "aa", false},
		{"urn:sap:*", "urn:sap:", true}, {"urn:sap:*", "urn:sap:a:b", false}, {"a", "", false}, {"*", "", false}, {"a*", "xa", false},
	} {
		if got := pattern(test.pattern).matches(test.text); got != test.want || got != (slowMatcher{}).matches(test.pattern, test.text) {
			t.Errorf("%q on %q: got %t, want %t", test.pattern, test.text, got, test.want)
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("a*b", "axb")
	f.Add("*a/*b", "xa/yb")
	f.Fuzz(func(t *testing.T, p, text string) {
		if strings.ContainsFunc(p+text, func(r rune) bool { return r > '~' }) {
			return
		}
		if got, want := pattern(p).matches(text), (slowMatcher{}).matches(p, text); got != want {
			t.Errorf("%q on %q: got %t, want %t", p, text, got, want)
		}
	})
}

// TestPatternStarStaysInHostAndFolder proves that the text of a star cannot make another URI
// of a resource.
func TestPatternStarStaysInHostAndFolder(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"https://*.corp.example/api", "https://a.corp.example/api", true},
		{"https://*.corp.example/api", "https://a.b.corp.example/api", true},
		{"https://*.corp.example/api", "https://evil.example?.corp.example/api", false},
		{"https://*.corp.example/api", "https://evil.example@x.corp.example/api", false},
		{"https://*.corp.example/api", "https://evil.example#.corp.example/api", false},
		{"https://*.corp.example/api", `https://evil.example\.corp.example/api`, false},
		{"https://*.corp.example/api?x", "https://evil.example?.corp.example/api?x", false},
		{"https://*.corp.example/api?x", "https://a.corp.example/api?x", true},
		{"https://api.corp.example/*", "https://api.corp.example/x", true},
		{"https://api.corp.example/*", "https://api.corp.example/..", false},
		{"https://api.corp.example/*/x", "https://api.corp.example/../x", false},
		{"https://api.corp.example/*", "https://api.corp.example/%2e%2e%2fadmin", false},
		{"https://api.corp.example/a%20b", "https://api.corp.example/a%20b", true},
		{"urn:sap:identity:*", "urn:sap:identity:x", true}, {"*", "", false}, {"", "", false},
	} {
		if got := pattern(test.pattern).matchesURI(test.text); got != test.want || got != (slowMatcher{}).matchesURI(test.pattern, test.text) {
			t.Errorf("%q on %q: got %t, want %t", test.pattern, test.text, got, test.want)
		}
	}
}

// TestPatternMatchesInLinearTime has a generous limit, because machines are busy. Matching
// with backtracking takes much longer.
func TestPatternMatchesInLinearTime(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"*" + strings.Repeat("a", 20_000) + "b", strings.Repeat("a", 1_000_000), false},
		{"*" + strings.Repeat("a", 20_000) + "b", strings.Repeat("a", 1_000_000) + "b", true},
		{strings.Repeat("a*", 500) + "b", strings.Repeat("a", 2000), false},
	} {
		begin := time.Now()
		if got := pattern(test.pattern).matches(test.text); got != test.want {
			t.Errorf("%.9q on %.9q: got %t, want %t", test.pattern, test.text, got, test.want)
		}
		if d := time.Since(begin); d > time.Second {
			t.Errorf("%.9q on %.9q: got %v, want at most 1s", test.pattern, test.text, d)
		}
	}
}

// FuzzMatchBytes compares matches with dynamic programming over all prefixes, for any bytes.
func FuzzMatchBytes(f *testing.F) {
	f.Add("a*:b*/c", "ax:by/c")
	f.Add("*ab*ab", "abab")
	f.Add("*:b", "a/b")
	f.Add("*/b", "a:b")
	f.Fuzz(func(t *testing.T, p, text string) {
		if len(p) > 200 || len(text) > 200 {
			return
		}
		// row[j] means that p[:i] matches text[:j].
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
			t.Errorf("%q on %q: got %t, want %t", p, text, !want, want)
		}
	})
}

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
