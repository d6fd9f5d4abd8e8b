package fleet

import (
	"crypto/rand"
	"testing"
	"time"
)

// FuzzRow: A row that this deployment did not write under this name is not believed, and
// nothing panics.
func FuzzRow(f *testing.F) {
	// A key of its own for each of the fuzzer's processes: to all but one, what
	// the others sealed is foreign.
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key)
	s, err := newSeal("2026-11-27", key)
	if err != nil {
		f.Fatal(err)
	}
	now := time.UnixMilli(1_000_000)
	name := nameRow(s, TokenRow, "a")
	good := sealRow(s, TokenRow, name, state{Until: now.UnixMilli() + 1000, Failures: 1, Note: []byte("why")}, nil, now)
	good.Value = s.close(name, partValue, encode(pointer{"pointer", 1}))
	f.Add(name, good.Until, good.Owner, good.State, good.Value)
	f.Add(name, good.Until, good.Owner, good.State, []byte(nil))
	f.Add(name, good.Until+1, good.Owner, good.State, good.Value)
	f.Add(name, good.Until, "owner", good.State, good.Value)
	f.Add("other", good.Until, good.Owner, good.State, good.Value)
	f.Add(name, int64(0), "", []byte(nil), []byte{0})
	f.Fuzz(func(t *testing.T, row string, until int64, owner string, state, value []byte) {
		got, sound := openRow(s, TokenRow, row, &Item{Name: row, Until: until, Owner: owner, State: state, Value: value}, now)
		ours := row == name && string(state) == string(good.State)
		if sound && !(ours && until == good.Until && owner == "") && row != "" {
			t.Errorf("a foreign row is believed: %+v", got)
		}
		if got.pointer != "" && !(row == name && string(value) == string(good.Value)) {
			t.Error("a foreign pointer is believed")
		}
		if text := openValue(s, &Item{Name: row, Value: value}, func(string) {}); text != nil && !(row == name && string(value) == string(good.Value)) {
			t.Errorf("a foreign value is believed: %q", text)
		}
	})
}
