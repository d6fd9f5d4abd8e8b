package strictjson_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"tokenvendor/shared/strictjson"
)

func limits() strictjson.Limits { return strictjson.Limits{Depth: 8, Members: 64} }

func TestObjectReturnsMembers(t *testing.T) {
	for _, tt := range []struct{ name, text, member, want string }{
		{"string", `{"scope":"a"}`, "scope", `"a"`},
		{"spaces", " {\n \"scope\" :\t\"a\" } \n", "scope", `"a"`},
		{"escaped name", `{"\u0073cope":"a"}`, "scope", `"a"`},
		{"nested", `{"a":{"b":[1,{"c":null}]},"d":1}`, "a", `{"b":[1,{"c":null}]}`},
		{"long number", `{"n":` + strings.Repeat("1", 5000) + `}`, "n", strings.Repeat("1", 5000)},
		{"surrogate pair", `{"s":"\ud83d\ude00"}`, "s", `"\ud83d\ude00"`},
		{"escaped backslash before u", `{"s":"\\ud800"}`, "s", `"\\ud800"`},
		{"same name in other objects", `{"a":{"x":1},"b":{"x":1}}`, "a", `{"x":1}`},
		{"depth at the limit", strings.Repeat(`{"a":`, 7) + `{}` + strings.Repeat(`}`, 7), "a", strings.Repeat(`{"a":`, 6) + `{}` + strings.Repeat(`}`, 6)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			members, err := strictjson.Object([]byte(tt.text), limits())
			if err != nil {
				t.Fatal(err)
			}
			if got := string(members[tt.member]); got != tt.want {
				t.Errorf("got member %s, want %s", got, tt.want)
			}
		})
	}
}

func TestObjectRefusesBadTexts(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       error
	}{
		{"nothing", ``, strictjson.ErrSyntax},
		{"word", `x`, strictjson.ErrSyntax},
		{"unfinished", `{"scope":"a"`, strictjson.ErrSyntax},
		{"null", `null`, strictjson.ErrSyntax},
		{"list", `[{}]`, strictjson.ErrSyntax},
		{"two objects", `{} {}`, strictjson.ErrSyntax},
		{"text behind", `{}x`, strictjson.ErrSyntax},
		{"null byte behind", "{}\x00", strictjson.ErrSyntax},
		{"comma at the end", `{"a":1,}`, strictjson.ErrSyntax},
		{"comment", `{/*x*/}`, strictjson.ErrSyntax},
		{"hex number", `{"a":0x10}`, strictjson.ErrSyntax},
		{"leading zero", `{"a":01}`, strictjson.ErrSyntax},
		{"NaN", `{"a":NaN}`, strictjson.ErrSyntax},
		{"byte order mark", "\ufeff{}", strictjson.ErrSyntax},
		{"broken UTF-8", "{\"a\":\"\xff\"}", strictjson.ErrSyntax},
		{"overlong UTF-8", "{\"a\":\"\xc0\xae\"}", strictjson.ErrSyntax},
		{"lone high surrogate", `{"a":"\ud800"}`, strictjson.ErrSyntax},
		{"lone low surrogate", `{"a":"\udc00\ud800"}`, strictjson.ErrSyntax},
		{"high surrogate before another escape", `{"a":"\ud800\u0041"}`, strictjson.ErrSyntax},
		{"raw control character", "{\"a\":\"\n\"}", strictjson.ErrSyntax},
		{"wrong value before a deep one", `{"a":x,"b":` + strings.Repeat(`[`, 9), strictjson.ErrSyntax},
		{"deep value before a wrong one", `{"b":` + strings.Repeat(`[`, 9) + `,"a":x}`, strictjson.ErrLimit},
		{"same name before a wrong value", `{"a":1,"a":1,"b":x}`, strictjson.ErrSyntax},
		{"too deep", strings.Repeat(`{"a":`, 8) + `{}` + strings.Repeat(`}`, 8), strictjson.ErrLimit},
		{"very deep list", `{"a":` + strings.Repeat(`[`, 100000), strictjson.ErrLimit},
		{"too many members", `{` + strings.TrimSuffix(manyMembers(65), ",") + `}`, strictjson.ErrLimit},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := strictjson.Object([]byte(tt.text), limits()); !errors.Is(err, tt.want) {
				t.Errorf("got error %v, want %v", err, tt.want)
			}
		})
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`"m` + strings.Repeat("x", i) + `":1,`)
	}
	return b.String()
}

func TestObjectRefusesDuplicates(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"other value", `{"scope":"a","scope":"b"}`, "scope is given twice"},
		{"same value", `{"scope":"a","scope":"a"}`, "scope is given twice"},
		{"by escape", `{"scope":"a","\u0073cope":"b"}`, "scope is given twice"},
		{"nested", `{"a":{"b":1,"b":2}}`, "b is given twice"},
		{"name that may be a secret", `{"Hunter2!":1,"Hunter2!":2}`, "a member is given twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := strictjson.Object([]byte(tt.text), limits())
			if err == nil || err.Error() != tt.want {
				t.Errorf("got error %v, want %q", err, tt.want)
			}
		})
	}
	outer := strictjson.Limits{Outer: true}
	if _, err := strictjson.Object([]byte(`{"a":{"b":1,"b":2}}`), outer); err != nil {
		t.Errorf("Outer: got error %v for a nested duplicate, want none", err)
	}
	if _, err := strictjson.Object([]byte(`{"a":1,"a":2}`), outer); err == nil {
		t.Error("Outer: got no error for a duplicate in the outermost object, want one")
	}
}

// TestObjectEndsSearchWithFirstProblem: names behind it cost nothing but their syntax, because anybody
// can send a text of megabytes.
func TestObjectEndsSearchWithFirstProblem(t *testing.T) {
	text := []byte(`{` + strings.Repeat(`"\u0061":{"b":1},`, 1000) + `"c":1}`)
	allocations := testing.AllocsPerRun(10, func() {
		if _, err := strictjson.Object(text, limits()); err == nil {
			t.Fatal("got no error for a name that is given twice")
		}
	})
	if allocations > 50 {
		t.Errorf("got %v allocations for 1000 names, want at most 50", allocations)
	}
}

func TestStrings(t *testing.T) {
	for _, tt := range []struct {
		value string
		want  []string
		ok    bool
	}{
		{`"a b"`, []string{"a b"}, true},
		{`"\u0061\""`, []string{`a"`}, true},
		{`[]`, []string{}, true},
		{`[ "a" ]`, []string{"a"}, true},
		{`["\u0061"]`, []string{"a"}, true},
		{`["a", "b"]`, []string{"a", "b"}, true},
		{`["a", 1]`, nil, false},
		{`["a", null]`, nil, false},
		{`null`, nil, false},
		{`{"a": "b"}`, nil, false},
		{``, nil, false},
	} {
		got, ok := strictjson.Strings(json.RawMessage(tt.value))
		if !slices.Equal(got, tt.want) || ok != tt.ok {
			t.Errorf("%s: got %q, %t; want %q, %t", tt.value, got, ok, tt.want, tt.ok)
		}
	}
}

func TestQuoteRepeatsOnlyNamesOfParameters(t *testing.T) {
	for name, want := range map[string]string{
		"client_id": "client_id", "": "a member", "Hunter2": "a member", "a b": "a member",
		"foo2": "foo2", "foo12": "foo12", "hunter123": "a member", "12": "a member", "a1b": "a member",
		strings.Repeat("a", 40): strings.Repeat("a", 40), strings.Repeat("a", 41): "a member",
	} {
		if got := strictjson.Quote(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

// FuzzObject proves that encoding/json accepts all that Object accepts, with the same members.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":"b"}`, `{"a":[1,{"b":null}],"c":"\ud83d\ude00"}`, `{"a":1,"a":2}`, `[`, `{"a":"\ud800"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		members, err := strictjson.Object(text, limits())
		outer, outerErr := strictjson.Object(text, strictjson.Limits{Depth: limits().Depth, Outer: true})
		if err == nil && outerErr != nil {
			t.Fatalf("Outer: got error %v, want none as without", outerErr)
		}
		if err != nil {
			members = outer
		}
		if err != nil && outerErr != nil {
			return
		}
		var loose map[string]json.RawMessage
		if err := json.Unmarshal(text, &loose); err != nil {
			t.Fatalf("got no error, but encoding/json returns %v", err)
		}
		if len(loose) != len(members) {
			t.Fatalf("got %d members, want %d as in encoding/json", len(members), len(loose))
		}
		for name, value := range loose {
			if outerErr == nil && string(outer[name]) != string(value) {
				t.Fatalf("Outer: got member %q, want %q as in encoding/json", outer[name], value)
			}
			if string(members[name]) != string(value) {
				t.Fatalf("got member %q, want %q as in encoding/json", members[name], value)
			}
		}
	})
}

// encoding/json reads what AppendString writes.
func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "a", `"`, `\`, "\x00\x1f\x7f", "ü\u2028", `{"access_token":"a\"b"}`, strings.Repeat("\n", 100)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			t.Skip("AppendString writes UTF-8 only")
		}
		var got string
		encoded := strictjson.AppendString([]byte("x"), []byte(s))
		if err := json.Unmarshal(encoded[1:], &got); err != nil || got != s {
			t.Errorf("got %q, %v; want %q", got, err, s)
		}
	})
}
