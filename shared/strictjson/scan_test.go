package strictjson_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"tokenvendor/shared/strictjson"
)

func TestEachReadsNamesAndValues(t *testing.T) {
	text := ` {"a":"x\"},{", "b" : [1,{"c":"]"}] ,"d":null,"e":-1.5e3,"f":{},"g":true}`
	var got []string
	strictjson.Each(bytes.TrimSpace([]byte(text)), func(name, value []byte) { got = append(got, string(name), string(value)) })
	want := []string{`"a"`, `"x\"},{"`, `"b"`, `[1,{"c":"]"}]`, `"d"`, `null`, `"e"`, `-1.5e3`, `"f"`, `{}`, `"g"`, `true`}
	if len(got) != len(want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %s, want %s", got[i], want[i])
		}
	}
}

// Each reads every valid object like encoding/json.
func FuzzEach(f *testing.F) {
	for _, seed := range []string{`{"a":1}`, `{"a":[{"b":"\\"}],"c":"d"}`, `{ "x" : -0.5 , "y" : "" }`, `{}`, `[1]`, `{"a":"]}"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		text = bytes.TrimSpace(text)
		var want map[string]json.RawMessage
		if json.Unmarshal(text, &want) != nil {
			return
		}
		got := make(map[string]string)
		strictjson.Each(text, func(name, value []byte) {
			var s string
			if err := json.Unmarshal(name, &s); err != nil {
				t.Fatalf("name %s: %v", name, err)
			}
			got[s] = string(value)
		})
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
