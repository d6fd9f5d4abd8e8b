package index

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// slowMatch matches by dynamic programming over all prefixes.
func slowMatch(pattern, text string, uri bool) bool {
	if uri && strings.Contains(pattern, "*") && strings.Contains(text+"/", "/../") {
		return false
	}
	stops := ":/"
	if uri {
		stops = `:/?#@%\ `
	}
	// row[j] means that the pattern so far matches text[:j].
	row := make([]bool, len(text)+1)
	row[0] = true
	for i := range len(pattern) {
		next := make([]bool, len(text)+1)
		for j := range next {
			switch {
			case pattern[i] == '*':
				next[j] = row[j] || j > 0 && next[j-1] && strings.IndexByte(stops, text[j-1]) < 0
			case j > 0:
				next[j] = row[j-1] && pattern[i] == text[j-1]
			}
		}
		row = next
	}
	return text != "" && row[len(text)]
}

// find returns the numbers of the patterns that match text.
func find(patterns []string, text string, uri bool) []int {
	x := Index{URI: uri}
	for i, p := range patterns {
		x.Add(p, i)
	}
	x.Sort()
	var found Set
	x.Search(text, &found)
	var numbers []int
	for n := range found.all {
		numbers = append(numbers, n)
	}
	return numbers
}

// matches reports whether an index finds a pattern among others that begin like it.
func matches(pattern, text string, uri bool) bool {
	patterns := []string{pattern}
	head, _, _ := strings.Cut(pattern, "*")
	for i := range fewSegments + 1 {
		patterns = append(patterns, fmt.Sprintf("%s*\x01%d", head, i))
	}
	found := find(patterns, text, uri)
	return len(found) > 0 && found[0] == 0
}

// TestStarMatchesNoSeparator proves that no star matches ':' or '/', and that a pattern matches
// whole texts only.
func TestStarMatchesNoSeparator(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"*", "a", true}, {"*", "a:b", false}, {"*", "a/b", false}, {"a*", "a", true}, {"a*c", "abc", true}, {"a*c", "abcd", false},
		{"*a/*b", "xa/yb", true}, {"*a/*b", "xa/ya/yb", false}, {"*ab", "aab", true}, {"*aab", "aaaab", true}, {"a*a*a", "aa", false},
		{"urn:sap:*", "urn:sap:", true}, {"urn:sap:*", "urn:sap:a:b", false}, {"a", "", false}, {"*", "", false}, {"a*", "xa", false},
		{"a*", "a:", false}, {"a*:", "a:", true}, {"*:", "a", false}, {"*a*", "xa/", false}, {"*:role/x", "1:role/x", true}, {"a?*", "a?", true},
	} {
		if got := matches(test.pattern, test.text, false); got != test.want || got != slowMatch(test.pattern, test.text, false) {
			t.Errorf("%q on %q: got %t, want %t", test.pattern, test.text, got, test.want)
		}
	}
}

// TestStarStaysInHostAndFolder proves that the text of a star cannot make another URI of a
// resource.
func TestStarStaysInHostAndFolder(t *testing.T) {
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
		{"https://api.corp.example/..", "https://api.corp.example/..", true},
		{"https://api.corp.example/*", "https://api.corp.example/%2e%2e%2fadmin", false},
		{"api-*", "api-a payroll", false},
		{"*", "api-a payroll", false},
		{"api-a *", "api-a payroll", true},
		{"https://api.corp.example/a%20b", "https://api.corp.example/a%20b", true},
		{"urn:sap:identity:*", "urn:sap:identity:x", true}, {"*", "", false}, {"", "", false},
	} {
		if got := matches(test.pattern, test.text, true); got != test.want || got != slowMatch(test.pattern, test.text, true) {
			t.Errorf("%q on %q: got %t, want %t", test.pattern, test.text, got, test.want)
		}
	}
}

// TestSearchTakesLinearTime has a generous limit, because machines are busy. Matching with
// backtracking takes much longer.
func TestSearchTakesLinearTime(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"*" + strings.Repeat("a", 20_000) + "b", strings.Repeat("a", 1_000_000), false},
		{"*" + strings.Repeat("a", 20_000) + "b", strings.Repeat("a", 1_000_000) + "b", true},
		{strings.Repeat("a*", 500) + "b", strings.Repeat("a", 2000), false},
		{strings.Repeat("*:", 500) + "b", strings.Repeat("a:", 500) + "b", true},
	} {
		begin := time.Now()
		if got := matches(test.pattern, test.text, false); got != test.want {
			t.Errorf("%.9q on %.9q: got %t, want %t", test.pattern, test.text, got, test.want)
		}
		if d := time.Since(begin); d > time.Second {
			t.Errorf("%.9q on %.9q: got %v, want at most 1s", test.pattern, test.text, d)
		}
	}
}

// FuzzSearch compares a search for one pattern with slowMatch, for any bytes.
func FuzzSearch(f *testing.F) {
	f.Add("a*:b*/c", "ax:by/c", false)
	f.Add("*ab*ab", "abab", false)
	f.Add("*:b", "a/b", true)
	f.Add("*/b", "a:b", true)
	f.Fuzz(func(t *testing.T, p, text string, uri bool) {
		if len(p) > 200 || len(text) > 200 {
			return
		}
		if got, want := matches(p, text, uri), slowMatch(p, text, uri); got != want {
			t.Errorf("%q on %q: got %t, want %t", p, text, got, want)
		}
	})
}

// TestSearchAgreesWithSlowMatch compares searches for many random patterns of few characters,
// which share their heads, segments and pairs, with slowMatch.
func TestSearchAgreesWithSlowMatch(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	random := func(most int, characters string) string {
		text := make([]byte, 1+r.IntN(most))
		for i := range text {
			text[i] = characters[r.IntN(len(characters))]
		}
		return string(text)
	}
	found, grouped := 0, 0
	for range 300 {
		uri := r.IntN(2) == 0
		patterns := make([]string, 1+r.IntN(SetSize))
		x := Index{URI: uri}
		for i := range patterns {
			patterns[i] = random(7, "ab**:/.")
			x.Add(patterns[i], i)
		}
		x.Sort()
		for _, g := range x.starred.groups {
			if g.starts != nil {
				grouped++
			}
		}
		for range 20 {
			text := random(9, "abc:/.?")
			var got, want Set
			x.Search(text, &got)
			for i, p := range patterns {
				if slowMatch(p, text, uri) {
					want.Add(i)
					found++
				}
			}
			if got != want {
				t.Fatalf("seed %d: %q on %q, uri %t: got %v, want %v", seed, patterns, text, uri, got, want)
			}
		}
	}
	if found < 1000 || grouped < 100 {
		t.Errorf("got %d matches and %d groups with many segments, want at least 1000 and 100", found, grouped)
	}
}
