package fleet

import (
	"crypto/rand"
	"testing"
	"time"
)

// FuzzRow: whatever lies in the table, what this deployment did not write for this
// row is not believed, and nothing panics.
func FuzzRow(f *testing.F) {
	// A key of its own for each of the fuzzer's processes: to all but one, what
	// the others sealed is foreign.
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key)
	s, err := newSeal("2026-11-27", key)
	if err != nil {
		f.Fatal(err)
	}
	v := &Visit{f: New(Config{})}
	v.seal.Store(s)
	now := time.UnixMilli(1_000_000)
	name := s.name(TokenRow, "a")
	good := v.item(name, state{Until: now.UnixMilli() + 1000, Failures: 1, Note: []byte("why")}, now)
	good.Value = s.close(name, placeValue, []byte("value"))
	f.Add(name, good.Until, good.Owner, good.State, good.Value)
	f.Add(name, good.Until, good.Owner, good.State, []byte(nil))
	f.Add(name, good.Until+1, good.Owner, good.State, good.Value)
	f.Add(name, good.Until, "owner", good.State, good.Value)
	f.Add("other", good.Until, good.Owner, good.State, good.Value)
	f.Add(name, int64(0), "", []byte(nil), []byte{0})
	f.Fuzz(func(t *testing.T, row string, until int64, owner string, state, value []byte) {
		got, sound := v.read(row, &Item{Name: row, Until: until, Owner: owner, State: state, Value: value}, now)
		ours := row == name && string(state) == string(good.State)
		if sound && !(ours && until == good.Until && owner == "") && row != "" {
			t.Errorf("a foreign row is believed: %+v", got)
		}
		if got.Value != nil && !(row == name && string(value) == string(good.Value)) {
			t.Errorf("a foreign value is believed")
		}
	})
}
