package main

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestEachMemberReadsNamesAndValues(t *testing.T) {
	text := ` {"a":"x\"},{", "b" : [1,{"c":"]"}] ,"d":null,"e":-1.5e3,"f":{},"g":true}`
	var got []string
	eachMember(bytes.TrimSpace([]byte(text)), func(name, value []byte) { got = append(got, string(name), string(value)) })
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

// eachMember reads every valid object like encoding/json.
func FuzzEachMember(f *testing.F) {
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
		eachMember(text, func(name, value []byte) {
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
