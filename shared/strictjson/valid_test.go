package strictjson_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"tokenvendor/shared/strictjson"
)

// texts are valid and invalid, and begin the search for others.
func texts() []string {
	list := []string{
		"", " ", "{}", "[]", `""`, "0", "-0", "00", "-", "1.", ".5", "1.5e+3", "1e", "1E-07", "+1", "1e+-1", "tru", "true", "truee", "nul", "null x", "false\n", "\v1", "\u00a01", "\ufeff{}",
		`{"a":1}`, `{"a" : [1 , {"b":null}] , "c":"d"}`, `{"a":1,}`, `{,}`, `{"a"}`, `{"a":}`, `{"a":1 "b":2}`, `{a:1}`, `{"a":1}}`, `{"a":1]`, `[1,]`, `[,1]`, `[1 2]`, `[}`, `]`, `{"a":1}{}`, `{1:2}`, `[1,"a":2]`,
		`"\u00e9\ud800"`, `"\u00g9"`, `"\u+123"`, `"\u12`, `"\`, `"\x"`, `"\/\b\f\n\r\t\"\\"`, `"\0"`, "\"\x00\"", "\"\n\"", "\"\x7f\"", "\"\xff\"", `"`, `"a`, `'a'`, "// a\n1", "NaN", "Infinity", "\x00",
	}
	for _, depth := range []int{9_999, 10_000, 10_001} {
		list = append(list,
			strings.Repeat("[", depth)+strings.Repeat("]", depth), strings.Repeat("[", depth-1)+"{}"+strings.Repeat("]", depth-1),
			strings.Repeat(`{"a":`, depth)+"1"+strings.Repeat("}", depth))
	}
	return list
}

// sameAsStandard fails the test if Valid and json.Valid differ.
func sameAsStandard(t *testing.T, text []byte) {
	t.Helper()
	if got, want := strictjson.Valid(text), json.Valid(text); got != want {
		t.Fatalf("%.200q: got %v, want that of json.Valid, %v", text, got, want)
	}
}

// TestValidAgreesWithStandard also changes every byte of a sample event to each other value.
func TestValidAgreesWithStandard(t *testing.T) {
	for _, text := range texts() {
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
	event = short.Bytes()[:min(short.Len(), 600)]
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
	for name, valid := range map[string]func([]byte) bool{"strictjson": strictjson.Valid, "encoding/json": json.Valid} {
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
