package fleet

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"time"
)

const (
	// maxLease is how far ahead the end of a lease is believed. The clocks of two
	// environments may differ, and a lease from a clock that is ahead must not stop the
	// other environments.
	maxLease = 10 * time.Second
	// maxResult is how far ahead the end of a result is believed; no token lives longer.
	// maxBackoff is that of a first failure, maxLongBackoff that of further ones.
	maxResult      = 24 * time.Hour
	maxBackoff     = 10*time.Minute + clockSlack + time.Minute
	maxLongBackoff = 4*time.Hour + clockSlack + time.Minute
	// historyKept is how long a row of the kind HistoryRow is kept after its last change.
	historyKept = 120 * 24 * time.Hour
	// keptAfter is how long a row is kept after its end, for clocks that differ, and
	// secretKeptAfter that of the kind SecretRow.
	keptAfter       = time.Hour
	secretKeptAfter = clockSlack
)

// Kind keeps rows of different things apart.
type Kind byte

// The kinds.
const (
	// TokenRow is one token; its work is the exchange.
	TokenRow Kind = iota + 1
	// LogonRow is one version of one client's credential. Only the environment with its
	// lease may send the credential; after a failed logon no environment may.
	LogonRow
	// ServerRow is one authorization server.
	ServerRow
	// JobRow is one thing that is done once for all, however often it is asked for.
	JobRow
	// ClientRow is one client, apart from its credential.
	ClientRow
	// sizeRow counts the environments.
	sizeRow
	// valueRow is the result of the work on another row.
	valueRow
	// HistoryRow is what is kept of a client for longer than a day: as long as the fleet uses
	// the table each day.
	HistoryRow
	// SecretRow is one secret; its work is to read it. Its value is in one row, whoever wrote
	// it, so that the table has a secret once.
	SecretRow
)

// keptAfter is how long a row of that kind, and its value, are kept after their end.
func (k Kind) keptAfter() time.Duration {
	if k == SecretRow {
		return secretKeptAfter
	}
	return keptAfter
}

// Row is the state of a row.
type Row struct {
	// Leased means that another environment works on it.
	Leased bool
	// Until is when its lease or its result ends.
	Until time.Time
	// Failures and Note are those of [Result].
	Failures int
	Note     []byte
	// Written is when the row was written, by the clock of the environment that did; zero:
	// not known. A time in the future means that one of the two clocks is wrong.
	Written time.Time

	item *Item
	// pointer names the row of the value; empty: there is none. pointed is the generation
	// of the write that made it.
	pointer string
	pointed int64
	// generation is that of [state].
	generation int64
	// lost means that the table lost the row, or holds an older state than this
	// environment saw.
	lost bool
	// foreign means that this deployment did not write the row. refused means that it is
	// foreign and too young for an epoch whose key is gone, or that its value is
	// foreign.
	foreign, refused bool
}

// state is the content of a row's State, sealed. Until and Owner stand beside it in the
// open too, because DynamoDB must compare them.
type state struct {
	Until    int64  `json:"until"`
	Owner    string `json:"owner,omitempty"`
	Failures int    `json:"failures,omitempty"`
	Note     []byte `json:"note,omitempty"`
	// Written is when the row was written, in Unix milliseconds.
	Written int64 `json:"written,omitempty"`
	// Generation grows with each write of the row whose writer read it before.
	Generation int64 `json:"generation,omitempty"`
	// Digest is the SHA-256 of the row's Value as it lies in the table, so that it cannot
	// be replaced by an older one; nil while the row is leased, because the environment
	// that takes the lease does not know the value yet.
	Digest []byte `json:"digest,omitempty"`
}

// sealRow returns the item of a row in state s. pointer leads to its value; nil: the row's is
// kept.
func sealRow(key *seal, kind Kind, name string, s state, pointer []byte, keep time.Time) Item {
	if kind == HistoryRow {
		key, keep = key.lasting(), keep.Add(historyKept)
	}
	s.Digest = digest(pointer)
	return Item{
		Name: name, Until: s.Until, Owner: s.Owner,
		State:     key.close(name, partState, encode(s)),
		Value:     pointer,
		ExpiresAt: keep.Add(kind.keptAfter()).Unix(),
	}
}

// openRow reads an item (nil: there is no row). The row is sound if this deployment wrote
// it for this name and it says something possible.
func openRow(key *seal, kind Kind, name string, item *Item, now time.Time) (row *Row, sound bool) {
	if item == nil || item.Name == "" {
		return &Row{item: &Item{}}, true
	}
	if kind == HistoryRow {
		key = key.lasting()
	}
	row = &Row{item: item}
	var s state
	plain, ok := key.open(name, partState, item.State)
	sound = ok && json.Unmarshal(plain, &s) == nil && s.Until == item.Until && s.Owner == item.Owner
	if row.foreign = !sound; sound {
		row.Leased, row.Until, row.Failures, row.Note = s.Owner != "", time.UnixMilli(s.Until), s.Failures, s.Note
		row.generation = s.Generation
		if s.Written != 0 {
			row.Written = time.UnixMilli(s.Written)
		}
	}
	intact := row.openPointer(key, name, s.Digest)
	row.refused = (!sound || !intact) && item.Until >= key.oldest()
	// The work on a leased row replaces its value. A time too far ahead is not damage,
	// but comes from a clock that is ahead.
	return row, sound && (intact || row.Leased) && row.possible(kind, now)
}

// possible reports whether the end of the row is not too far ahead. A lockout of a clock that
// is ahead, or of one that is right if ours is behind, is believed for as long as its writer
// meant it to last: to forget it would cost a failed logon each time.
func (r *Row) possible(kind Kind, now time.Time) bool {
	ahead, lasts := r.Until.Sub(now), r.Until.Sub(r.Written)
	if ahead <= r.longest() {
		return true
	}
	if kind != LogonRow || r.Failures == 0 || lasts > r.longest() || ahead > maxResult {
		return false
	}
	r.Until = now.Add(lasts)
	return true
}

// openPointer reads where the value is. It returns false if this deployment did not write
// that for this row.
func (r *Row) openPointer(key *seal, name string, want []byte) bool {
	if len(r.item.Value) == 0 {
		return true
	}
	plain, ok := key.open(name, partValue, r.item.Value)
	var p pointer
	if !ok || want != nil && !bytes.Equal(want, digest(r.item.Value)) || json.Unmarshal(plain, &p) != nil {
		return false
	}
	r.pointer, r.pointed = p.Row, p.Generation
	return true
}

// longest is how far ahead the end of the row is believed.
func (r *Row) longest() time.Duration {
	switch {
	case r.Leased:
		return maxLease
	case r.Failures == 1:
		return maxBackoff
	case r.Failures > 1:
		return maxLongBackoff
	}
	return maxResult
}

// like returns the condition that the row is as it was read.
func (r *Row) like() Condition {
	if r.foreign {
		return Condition{Any: true} // it may not even have attributes of the right types
	}
	return Condition{Like: r.item}
}

// nameRow returns the name of the row of that kind for id.
func nameRow(key *seal, kind Kind, id string) string { return key.name(byte(kind), id) }

// pointer is the content of a row's Value: where the value is.
type pointer struct {
	Row        string `json:"row"`
	Generation int64  `json:"generation"`
}

// sealValue returns the row of a value that the holder of a lease has for a row of that kind,
// and the pointer to it. Only one lease writes it, so it needs no state; but a secret's is
// written by all, and its reader must check that it is the one that the note names. fits is false
// for a value that is too large for an item.
func sealValue(key *seal, kind Kind, name, owner string, generation int64, value []byte, keep time.Time) (item Item, sealed []byte, fits bool) {
	if kind == SecretRow {
		owner = ""
	}
	own := nameRow(key, valueRow, name+owner)
	item = Item{Name: own, Value: key.close(own, partValue, value), ExpiresAt: keep.Add(kind.keptAfter()).Unix()}
	return item, key.close(name, partValue, encode(pointer{own, generation})), len(item.Value) <= maxSealed
}

// openValue reads the row of a value; nil: this deployment did not write it, which is counted.
func openValue(key *seal, item *Item, count func(string)) []byte {
	value, ok := key.open(item.Name, partValue, item.Value)
	if !ok {
		count(CountRefused)
	}
	return value
}

// report counts a row that is refused or lost.
func (r *Row) report(count func(string)) {
	if r.refused {
		count(CountRefused)
	}
	if r.lost {
		count(CountLost)
	}
}

// rowOf returns a row that is not read from the table.
func rowOf(s state, expires int64) *Row {
	return &Row{Until: time.UnixMilli(s.Until), Failures: s.Failures, Note: s.Note, item: &Item{ExpiresAt: expires}}
}

// absent reports whether the table has no such row.
func (r *Row) absent() bool { return r.item.Name == "" }

// expires returns when DynamoDB may delete the row, in Unix seconds.
func (r *Row) expires() int64 { return r.item.ExpiresAt }

// named reports whether this is the row of that name.
func (r *Row) named(name string) bool { return r.item.Name == name }

// kept returns until when the table keeps the row.
func (r *Row) kept() time.Time { return time.Unix(r.expires(), 0).Add(-keptAfter) }

// digest covers the pointer to a value; nil if there is none.
func digest(pointer []byte) []byte {
	if pointer == nil {
		return nil
	}
	sum := sha256.Sum256(pointer)
	return sum[:]
}

// free returns the condition that a row is free at a time, and owned that it is under a lease
// that has not ended.
func free(now time.Time) Condition { return Condition{FreeAt: now.UnixMilli()} }

func owned(owner string, now time.Time) Condition {
	return Condition{OwnedBy: owner, OwnedAt: now.UnixMilli()}
}

// always returns the condition of a row that only its writer names.
func always() Condition { return Condition{Any: true} }
