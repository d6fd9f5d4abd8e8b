package strictjson_test

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"tokenvendor/shared/strictjson"
)

func TestReaderReadsNamesAndValues(t *testing.T) {
	r := strictjson.NewReader([]byte(` {"a":"x\"},{", "b" : [1,{"c":"]"}, [2]] ,"d":null,"e":-1.5e3,"f":{},"g":true,"h":{"i":[]}} `))
	var got []string
	note := func(text []byte) { got = append(got, string(text)) }
	r.Members(func(name []byte) {
		note(name)
		switch string(name) {
		case `"b"`:
			r.Elements(func() { note(r.Value()) })
		case `"e"`: // Members reads what is left unread
		case `"h"`:
			r.Members(note)
		default:
			note([]byte{r.Next()})
			note(r.Value())
		}
	})
	want := []string{`"a"`, `"`, `"x\"},{"`, `"b"`, `1`, `{"c":"]"}`, `[2]`, `"d"`, `n`, `null`, `"e"`, `"f"`, `{`, `{}`, `"g"`, `t`, `true`, `"h"`, `"i"`}
	if !slices.Equal(got, want) || !r.Valid() {
		t.Errorf("got %q, valid %v; want %q", got, r.Valid(), want)
	}
}

// TestNextReadsNothing: a value that was only looked for is read by Members and Elements.
func TestNextReadsNothing(t *testing.T) {
	r := strictjson.NewReader([]byte(`{"a": [ 1 , {"b" : 2}],"c" : 3}`))
	var kinds []byte
	next := func() { kinds = append(kinds, r.Next()) }
	r.Members(func(name []byte) {
		if next(); string(name) == `"a"` {
			r.Elements(next)
		}
	})
	if string(kinds) != "[1{3" || !r.Valid() {
		t.Errorf("got %q, valid %v; want %q", kinds, r.Valid(), "[1{3")
	}
}

func TestReaderReadsOtherValuesWithoutACall(t *testing.T) {
	for _, text := range []string{`[1]`, `"a"`, `null`, `1`, `{}`, ``, `x`} {
		r := strictjson.NewReader([]byte(text))
		r.Members(func([]byte) { t.Errorf("%s: a call for a member", text) })
		if got, want := r.Valid(), json.Valid([]byte(text)); got != want {
			t.Errorf("%s: got valid %v, want %v", text, got, want)
		}
	}
}

// The depth of a value counts from the outermost one.
func TestReaderLimitsDepthOfWholeText(t *testing.T) {
	for depth, want := range map[int]bool{9_998: true, 9_999: true, 10_000: false} {
		inner := strings.Repeat("[", depth-2) + strings.Repeat("]", depth-2)
		r := strictjson.NewReader([]byte(`{"a":[{"b":` + inner + `}]}`))
		r.Members(func([]byte) { r.Elements(func() { r.Members(func([]byte) { r.Value() }) }) })
		if got := r.Valid(); got != want {
			t.Errorf("a depth of %d in an object: got valid %v, want %v", depth, got, want)
		}
	}
}

// A Reader reads every object like encoding/json, and refuses the same texts.
func FuzzReader(f *testing.F) {
	for _, seed := range append(texts(), `{"a":[{"b":"\\"}],"c":"d"}`, `{ "x" : -0.5 , "y" : "" }`, `{"a":"]}"}`) {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got := make(map[string]string)
		r := strictjson.NewReader(text)
		r.Members(func(name []byte) {
			var s string
			_ = json.Unmarshal(name, &s)
			got[s] = string(r.Value())
		})
		if r.Valid() != json.Valid(text) {
			t.Fatalf("got valid %v, want that of json.Valid", r.Valid())
		}
		var want map[string]json.RawMessage
		if json.Unmarshal(text, &want) != nil {
			return
		}
		if len(got) != len(want) {
			t.Fatalf("got %d members, want %d", len(got), len(want))
		}
		for name, value := range want {
			if got[name] != string(value) {
				t.Fatalf("%q: got %s, want %s", name, got[name], value)
			}
		}
	})
}

func TestElementsStopsAtItsLimit(t *testing.T) {
	for _, test := range []struct {
		value string
		want  []string
	}{
		{`[1]`, []string{"1"}},
		{`[ {"a":[1,2]} , "x]," ,null ]`, []string{`{"a":[1,2]}`, `"x],"`, `null`}},
		{`[1,2,3,4]`, nil}, {`[]`, nil}, {`[ ]`, nil}, {`{}`, nil}, {`null`, nil}, {`1`, nil}, {``, nil},
	} {
		list, ok := strictjson.Elements(json.RawMessage(test.value), 3)
		if ok != (test.want != nil) || len(list) != len(test.want) {
			t.Errorf("%s: got %q, %t; want %q", test.value, list, ok, test.want)
			continue
		}
		for i, want := range test.want {
			if string(list[i]) != want {
				t.Errorf("%s: got %s, want %s", test.value, list[i], want)
			}
		}
	}
}

// Elements reads every valid array like encoding/json.
func FuzzElements(f *testing.F) {
	for _, seed := range []string{`[1]`, `[ [] , "]" ,{"a":"b"}]`, `[]`, `{}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		text = bytes.TrimSpace(text)
		var want []json.RawMessage
		if json.Unmarshal(text, &want) != nil {
			return
		}
		got, ok := strictjson.Elements(text, 10)
		if ok != (len(want) >= 1 && len(want) <= 10) {
			t.Fatalf("got %d elements, %t; want %d", len(got), ok, len(want))
		}
		for i := range got {
			if string(got[i]) != string(want[i]) {
				t.Fatalf("got %s, want %s", got[i], want[i])
			}
		}
	})
}

func TestEachStringReadsOneOrAList(t *testing.T) {
	for value, want := range map[string][]string{
		`"a"`: {"a"}, `""`: {""}, `"\u00e9\""`: {"é\""}, `[]`: {}, `["a"]`: {"a"}, `[ "a" , "b,]" ]`: {"a", "b,]"},
		`1`: nil, `null`: nil, `{"a":"b"}`: nil, `["a",1]`: nil, `[["a"]]`: nil, `[null]`: nil,
	} {
		got := []string{}
		ok := strictjson.EachString([]byte(value), func(text []byte) { got = append(got, string(text)) })
		if ok != (want != nil) || ok && !slices.Equal(got, want) {
			t.Errorf("%s: got %q, %v; want %q", value, got, ok, want)
		}
	}
}

// texts are valid and invalid, and begin the search for others.
func texts() []string {
	list := []string{
		"", " ", "{}", "[]", `""`, "0", "-0", "00", "-", "1.", ".5", "1.5e+3", "1e", "1E-07", "+1", "1e+-1", "tru", "true", "truee", "nul", "null x", "false\n", "\v1", "\u00a01", "\ufeff{}",
		`{"a":1}`, `{"a" : [1 , {"b":null}] , "c":"d"}`, `{"a":1,}`, `{,}`, `{"a"}`, `{"a":}`, `{"a":1 "b":2}`, `{a:1}`, `{"a":1}}`, `{"a":1]`, `[1,]`, `[,1]`, `[1 2]`, `[}`, `]`, `{"a":1}{}`, `{1:2}`, `[1,"a":2]`,
		`"\u00e9\ud800"`, `"\u00g9"`, `"\u+123"`, `"\u12`, `"\`, `"\x"`, `"\/\b\f\n\r\t\"\\"`, `"\0"`, "\"\x00\"", "\"\n\"", "\"\x7f\"", "\"\xff\"", `"`, `"a`, `'a'`, "// a\n1", "NaN", "Infinity", "\x00",
	}
	return list
}

// deepTexts are as deep as a text may be, and deeper. They are too long to be changed by a fuzzer.
func deepTexts() (list []string) {
	for _, depth := range []int{9_999, 10_000, 10_001} {
		list = append(list,
			strings.Repeat("[", depth)+strings.Repeat("]", depth), strings.Repeat("[", depth-1)+"{}"+strings.Repeat("]", depth-1),
			strings.Repeat(`{"a":`, depth)+"1"+strings.Repeat("}", depth))
	}
	return list
}

// valid reports whether a Reader accepts a text.
func valid(text []byte) bool {
	r := strictjson.NewReader(text)
	r.Value()
	return r.Valid()
}

// sameAsStandard fails the test if valid and json.Valid differ.
func sameAsStandard(t *testing.T, text []byte) {
	t.Helper()
	if got, want := valid(text), json.Valid(text); got != want {
		t.Fatalf("%.200q: got %v, want that of json.Valid, %v", text, got, want)
	}
}

// TestValidAgreesWithStandard also changes every byte of a sample event to each other value.
func TestValidAgreesWithStandard(t *testing.T) {
	for _, text := range append(texts(), deepTexts()...) {
		sameAsStandard(t, []byte(text))
	}
	event, err := os.ReadFile("../../events/rest-v1.json")
	if err != nil {
		t.Fatal(err)
	}
	var short bytes.Buffer
	if err := json.Compact(&short, event); err != nil {
		t.Fatal(err)
	}
	event = short.Bytes()[:min(short.Len(), 250)]
	event = append(event[:bytes.LastIndexByte(event, ',')], `},"n":[-1.50E+2,true,null,"\u00e9\\"]}`...)
	for i := range event {
		sameAsStandard(t, event[:i])
		changed := bytes.Clone(event)
		for c := range 256 {
			changed[i] = byte(c)
			sameAsStandard(t, changed)
		}
	}
}

func FuzzValid(f *testing.F) {
	for _, text := range texts() {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) { sameAsStandard(t, text) })
}

func BenchmarkValid(b *testing.B) {
	event, err := os.ReadFile("../../events/rest-v1.json")
	if err != nil {
		b.Fatal(err)
	}
	for name, valid := range map[string]func([]byte) bool{"strictjson": valid, "encoding/json": json.Valid} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(event)))
			for b.Loop() {
				if !valid(event) {
					b.Fatal("the sample is not valid")
				}
			}
		})
	}
}
