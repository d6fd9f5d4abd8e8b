package token

import (
	"context"
	"maps"
	"sync"
	"time"
)

// rejectionMemory is how long a refused version of a credential is not tried
// again.
const rejectionMemory = 10 * time.Minute

// logons keeps the lock rule: SAP Cloud Identity Services locks a client for an
// hour, for everybody, after five failed logons, so a version of a credential
// that was refused once is not sent again. To make that exact, exchanges of one
// client happen one after the other: two at once could both fail.
type logons struct {
	mu      sync.Mutex
	clients map[string]*logon // by client name; guarded by mu
}

type logon struct {
	// turn holds one element while an exchange is under way. It guards
	// refusals.
	turn chan struct{}
	// refusals are by version: one may become current again by a label that
	// is moved back.
	refusals map[string]refusal
}

type refusal struct {
	failure *Error
	until   time.Time
}

// enter waits for the client's turn. release must be called when it succeeds.
func (l *logons) enter(ctx context.Context, client string) (s *logon, release func(), err error) {
	l.mu.Lock()
	s = l.clients[client]
	if s == nil {
		if l.clients == nil {
			l.clients = make(map[string]*logon)
		}
		s = &logon{turn: make(chan struct{}, 1), refusals: make(map[string]refusal)}
		l.clients[client] = s
	}
	l.mu.Unlock()
	select {
	case s.turn <- struct{}{}:
		return s, func() { <-s.turn }, nil
	case <-ctx.Done():
		return nil, nil, timeout()
	}
}

// refused returns the failure of version while it is remembered, else nil.
func (s *logon) refused(version string, now time.Time) *Error {
	if r, ok := s.refusals[version]; ok && now.Before(r.until) {
		return r.failure
	}
	return nil
}

// refuse remembers that version was refused, and forgets what is over.
func (s *logon) refuse(version string, failure *Error, now time.Time) {
	maps.DeleteFunc(s.refusals, func(_ string, r refusal) bool { return !now.Before(r.until) })
	s.refusals[version] = refusal{failure: failure, until: now.Add(rejectionMemory)}
}
