package fleet

import (
	"bytes"
	"context"
	"time"
)

const (
	// firstConflict is the longest pause after a change that another environment forestalled,
	// doubling to longConflict; each is jittered down to half.
	firstConflict = 10 * time.Millisecond
	longConflict  = 160 * time.Millisecond
)

// Last is a row as [Session.Change] left it.
type Last struct{ row *Row }

// Change replaces the note of a row that needs no lease, as change makes it of the present
// one (nil: none). It writes nothing if change returns the present one as it is. change may be
// called several times. last, as it was returned before, saves a call if no other environment
// changed the row since; nil: the row is read first.
//
// It returns false and nil if the table could not be used, and false and the row if other
// environments changed it for all of patience each time before this one could.
func (s *Session) Change(ctx context.Context, patience time.Duration, kind Kind, id string, last *Last, change func(note []byte) []byte) (*Last, bool) {
	if s == nil {
		return nil, false
	}
	c := changer{s: s, kind: kind, name: s.name(kind, id), purpose: changing, patience: patience, change: change}
	return c.run(ctx, last)
}

// Read returns a row as it is, without a lease; false: the table did not answer.
func (s *Session) Read(ctx context.Context, kind Kind, id string) (Row, bool) {
	if s == nil {
		return Row{}, false
	}
	name := s.name(kind, id)
	item, answered := s.get(ctx, changing, name)
	if !answered {
		return Row{}, false
	}
	row, sound := s.open(kind, name, item)
	if !sound {
		return Row{}, true
	}
	return *row, true
}

// run is Change.
func (c *changer) run(ctx context.Context, last *Last) (*Last, bool) {
	if last == nil || !last.row.named(c.name) {
		if last = c.read(ctx); last == nil {
			return nil, false
		}
	}
	backoff := firstConflict
	for begun := c.s.f.now(); ; {
		old := c.fresh != last.row.item
		next, ok := c.try(ctx, last.row.item)
		switch {
		case next == nil || ok:
			return next, ok
		case old: // no other environment is at it now
			last = next
			continue
		}
		if last = next; c.s.f.now().Sub(begun) >= c.patience || !c.s.Wait(ctx, c.s.jitter(backoff)) {
			return last, false
		}
		backoff = min(2*backoff, longConflict)
	}
}

// changer is one call of Change.
type changer struct {
	s       *Session
	kind    Kind
	name    string
	purpose purpose
	// patience is how long the change is tried again.
	patience time.Duration
	change   func(note []byte) []byte
	// fresh is the row as this call has read it.
	fresh *Item
}

// read reads the row; nil: the table did not answer.
func (c *changer) read(ctx context.Context) *Last {
	item, answered := c.s.get(ctx, c.purpose, c.name)
	if !answered {
		return nil
	}
	if item == nil {
		item = &Item{}
	}
	c.fresh = item
	return &Last{&Row{item: item}}
}

// try changes the row if it still is current. If it is not, try returns the row as it is; nil:
// the table did not answer.
func (c *changer) try(ctx context.Context, current *Item) (*Last, bool) {
	row, _ := c.s.open(c.kind, c.name, current)
	note := row.Note
	if row.lost {
		known, _ := c.s.guarded(c.name)
		note = known.Note
	}
	changed := c.change(bytes.Clone(note))
	if bytes.Equal(changed, row.Note) {
		if c.fresh == current {
			return &Last{row}, true
		}
		// A result that needs no write must be that of the present row.
		last := c.read(ctx)
		if last == nil {
			return nil, false
		}
		return c.try(ctx, last.row.item)
	}
	item := c.s.sealed(c.kind, c.name, state{Until: 1, Note: changed, Generation: c.s.next(c.name, row.generation)}, nil, c.s.f.now())
	old, ok, answered, _ := c.s.update(ctx, c.purpose, item, row.like())
	switch {
	case !answered:
		return nil, false
	case ok:
		row.report(c.s.f.count)
		c.s.open(c.kind, c.name, &item)
		return &Last{&Row{item: &item}}, true
	case old == nil:
		old = &Item{}
	}
	c.fresh = old
	return &Last{&Row{item: old}}, false
}
