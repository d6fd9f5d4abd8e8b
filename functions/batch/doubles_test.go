package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/radar"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/token"
)

// realVendor returns the real core.
func realVendor(cfg token.Config) vendor { return token.New(cfg) }

// hookedVendor is a core with hooks; nil: none.
type hookedVendor struct {
	vendor
	// read is called when an order has been read, within the call of the core.
	read func(*token.Order)
	// after is called before an answer of the core is handed on.
	after func()
}

func (v hookedVendor) Announce(ctx context.Context, read func(*token.Order) error) (token.Announcement, error) {
	if v.after != nil {
		defer v.after()
	}
	return v.vendor.Announce(ctx, func(o *token.Order) error {
		err := read(o)
		if v.read != nil {
			v.read(o)
		}
		return err
	})
}

func (v hookedVendor) Vend(ctx context.Context, read func(*token.Request) error) (token.Grant, error) {
	if v.after != nil {
		defer v.after()
	}
	return v.vendor.Vend(ctx, read)
}

// strictVendor announces every order, grants no token, and panics if an order lacks a member.
type strictVendor struct{}

func (strictVendor) Vend(_ context.Context, read func(*token.Request) error) (token.Grant, error) {
	if err := read(&token.Request{}); err != nil {
		return token.Grant{}, err
	}
	return token.Grant{}, fault.Refusal(fault.Denied, "")
}

func (strictVendor) Announce(_ context.Context, read func(*token.Order) error) (token.Announcement, error) {
	o := token.Order{Request: &token.Request{}}
	if err := read(&o); err != nil {
		return token.Announcement{}, err
	}
	if !registry.ValidName(o.Client) || o.ID == "" || o.Request.Caller == "" {
		panic("an order without client, id or caller")
	}
	return token.Announcement{Ordered: token.Ordered{ID: o.ID, Client: o.Client, Caller: o.For}, Claim: "claim"}, nil
}

func (strictVendor) Examine(context.Context, string, token.Probe) (token.Examination, bool) {
	return token.Examination{Err: fault.Invalid("")}, true
}

// memoryBus is an event bus.
type memoryBus struct {
	mu      sync.Mutex
	err     error                // of every call; guarded by mu
	lose    int                  // so many more events are taken, but their answers lost; guarded by mu
	events  []token.Announcement // guarded by mu
	told    []radar.Event        // guarded by mu
	details bytes.Buffer         // guarded by mu
}

// Put implements bus.
func (b *memoryBus) Put(_ context.Context, source, detailType string, detail []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return b.err
	}
	var a token.Announcement
	if slices.Contains(radar.Types(), detailType) && source == "token-vendor" {
		b.details.Write(detail)
		b.told = append(b.told, radar.Event{Type: detailType})
		return json.Unmarshal(detail, &b.told[len(b.told)-1].Detail)
	}
	if err := json.Unmarshal(detail, &a); err != nil || source != "token-vendor" || detailType != "TokenReady" {
		panic(fmt.Sprintf("put %s %s %s on the bus", source, detailType, detail))
	}
	b.events = append(b.events, a)
	b.details.Write(detail)
	if b.lose > 0 {
		b.lose--
		return errors.New("no answer")
	}
	return nil
}

// letter is a message in the dead-letter queue.
type letter struct {
	Body       string
	Attributes map[string]string
}

// memoryQueue is a dead-letter queue.
type memoryQueue struct {
	mu      sync.Mutex
	err     error    // of every call; guarded by mu
	letters []letter // guarded by mu
}

// Send implements queue.
func (q *memoryQueue) Send(_ context.Context, body string, attributes map[string]string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.letters = append(q.letters, letter{body, attributes})
	}
	return q.err
}

// targetSecret is a secret that tokens are delivered to.
type targetSecret struct {
	text    []byte // nil: it has no value
	written time.Time
	writes  int
	ids     []string // idempotency tokens of all writes
	err     error    // of every call
}

// memoryTargets are the secrets that tokens are delivered to.
type memoryTargets struct {
	now     func() time.Time
	mu      sync.Mutex
	secrets map[string]*targetSecret // by name; guarded by mu
}

// Read implements targets.
func (m *memoryTargets) Read(_ context.Context, name string) ([]byte, time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.secrets[name]
	switch {
	case s == nil || s.err == nil && s.text == nil:
		return nil, time.Time{}, secret.ErrNotFound
	case s.err != nil:
		return nil, time.Time{}, s.err
	}
	return s.text, s.written, nil
}

// Write implements targets.
func (m *memoryTargets) Write(_ context.Context, name, id string, text []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.secrets[name]
	switch {
	case s == nil:
		return secret.ErrNotFound
	case s.err != nil:
		return s.err
	case slices.Contains(s.ids, id):
		return nil
	}
	s.text, s.written, s.writes, s.ids = text, m.now(), s.writes+1, append(s.ids, id)
	return nil
}
