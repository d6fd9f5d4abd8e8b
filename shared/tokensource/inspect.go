package tokensource

import (
	"context"
	"strconv"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/registry"
)

// Credential is what is known of a client's credential, here or in the table.
type Credential struct {
	// Proven means that the authorization server accepted the credential last.
	Proven bool
	// Refusal is the error of the last logon, if the authorization server refused it; nil: it
	// did not, as far as that is known. The lockout that followed may be over.
	Refusal error
	// Reference is an ask that obtained a token; nil: none is known.
	Reference *ask.Ask
}

// Inspect returns what is known of a client's credential. It calls no authorization server. ok
// is false if the table could not be used.
func (s *Source) Inspect(ctx context.Context, client *registry.Client) (c Credential, ok bool) {
	session := s.rows.fleet.Session(ctx)
	state := s.candidates.exchange.states.read(ctx, session, client.Name)
	c.Proven, c.Reference = state.proven(client), state.Reference
	refused, ok := s.candidates.exchange.lockout.last(ctx, session, client.Name, client.Version)
	if refused != nil && !c.Proven {
		c.Refusal = refused.error()
	}
	return c, ok
}

// Used returns the last day on which a caller got a token of a client; zero: none is known. It
// returns false if the table could not be used.
func (s *Source) Used(ctx context.Context, client string) (time.Time, bool) {
	return s.usage.last(ctx, s.rows.fleet.Session(ctx), client)
}

// last returns the last lockout of a version that was refused last, as far as this environment
// and the table know; nil: there is none. It may be over.
func (l *lockout) last(ctx context.Context, session *fleet.Session, client, version string) (r *refusal, ok bool) {
	g := &logon{l: l, client: client, version: version}
	r, ok = l.locked(client, version), true
	for g.slot = range logonSlots {
		row, answered := session.Read(ctx, fleet.LogonRow, g.row())
		ok = ok && answered
		if row.Failures > 0 && !row.Leased && row.Until.Sub(row.Written) >= newLockout/2 {
			e, _ := readNote(row.Note)
			r = &refusal{fault: e, until: row.Until, times: row.Failures}
		}
	}
	return r, ok
}

// usage notes once a day which clients callers use. It is safe for concurrent use.
type usage struct {
	runtime
	fleet  *fleet.Fleet // nil: it notes nothing
	states *clientStates
}

// usageTime is how long a day is noted again while other environments are faster.
const usageTime = 100 * time.Millisecond

func usageRow(client string) string { return "used\x00" + client }

// note notes that a caller got a token.
func (u *usage) note(ctx context.Context, client string, t *Token) {
	if u.fleet == nil || t.used.Load() {
		return
	}
	today := u.now().UTC().Unix() / secondsOfDay
	known := u.states.client(client)
	known.mu.Lock()
	noted := known.day == today
	known.mu.Unlock()
	if noted {
		t.used.Store(true)
		return
	}
	_, ok := u.fleet.Session(ctx).Change(ctx, usageTime, fleet.HistoryRow, usageRow(client), nil, func(note []byte) []byte {
		if day, _ := strconv.ParseInt(string(note), 10, 64); day >= today {
			return note
		}
		return strconv.AppendInt(nil, today, 10)
	})
	if ok {
		known.mu.Lock()
		known.day = today
		known.mu.Unlock()
		t.used.Store(true)
	}
}

const secondsOfDay = 24 * 60 * 60

// last returns the day that was noted last; zero: there is none. It returns false if the table
// could not be used.
func (u *usage) last(ctx context.Context, session *fleet.Session, client string) (time.Time, bool) {
	row, ok := session.Read(ctx, fleet.HistoryRow, usageRow(client))
	day, err := strconv.ParseInt(string(row.Note), 10, 64)
	if err != nil {
		return time.Time{}, ok
	}
	return time.Unix(day*secondsOfDay, 0).UTC(), ok
}
