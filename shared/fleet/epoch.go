package fleet

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"tokenvendor/shared/cache"
)

const (
	// openTime bounds opening an epoch, and skipTime is how long the table is not called
	// after failures.
	openTime = time.Second
	skipTime = 30 * time.Second
	// keyLease is how long other environments wait for one that asks KMS for the epoch's
	// key.
	keyLease = 3 * time.Second
	// keyPoll is the longest pause between two looks at the epoch's row meanwhile.
	keyPoll = 250 * time.Millisecond
	// notYetBackoff is how soon an environment that waited in vain looks again.
	notYetBackoff = time.Second
	// epochKept is how long an epoch's row outlives its epoch, for clocks that are behind.
	epochKept = 24 * time.Hour
	// peekTime is how long it is remembered that an epoch has not begun.
	peekTime = 2 * time.Second
)

var (
	errNotYet = errors.New("another environment is making the epoch's key")

	// ErrForeign: a text was not signed by this deployment, or before yesterday.
	ErrForeign = errors.New("not signed by this deployment, or too long ago")
	// ErrNoTable: the table, or its key, cannot be used now.
	ErrNoTable = errors.New("the shared table cannot be used now")
)

// epochs opens the keys of epochs, and makes them. It is safe for concurrent use.
type epochs struct {
	table Table
	keys  Keys
	count func(string)
	warn  func(error)
	now   func() time.Time
	rand  func() float64
	seals *cache.Cache[string, *seal] // nil value: the epoch has not begun
	// opened is the row of the epoch that was opened last.
	opened atomic.Pointer[Item]
}

// currentSeal is the seal that a session uses; it is replaced when the next epoch turns out to
// have begun.
type currentSeal struct{ atomic.Pointer[seal] }

func newEpochs(e *epochs) *epochs {
	e.seals = cache.New[string](cache.Config[*seal]{
		MaxEntries: 4, LoadTimeout: openTime, Now: e.now,
		OnError: func(err error, _ int, _ bool) cache.Reaction {
			if errors.Is(err, errNotYet) || errors.Is(err, ErrThrottled) {
				// The environment that made the key may have died.
				return cache.Reaction{Backoff: notYetBackoff}
			}
			return cache.Reaction{Backoff: skipTime}
		},
	})
	return e
}

// current returns the seal of today, or of tomorrow if an environment whose clock is ahead
// has begun it: every environment must be able to read what the others write.
func (e *epochs) current(ctx context.Context) (*seal, error) {
	now := e.now().UTC()
	epoch, next := now.Format(epochLayout), now.Add(clockSlack).Format(epochLayout)
	if next != epoch {
		if s, err := e.peek(ctx, next, nil); err == nil {
			return s, nil
		}
	}
	s, _, err := e.seals.Get(ctx, epoch, (*seal).begun, func(ctx context.Context, _ cache.Last[*seal]) (cache.Entry[*seal], error) {
		s, err := e.open(ctx, epoch)
		if err != nil {
			e.failed(err)
		}
		return cache.Entry[*seal]{Value: s, Expire: e.now().Add(2 * epochKept)}, err
	})
	if err == nil && s == nil {
		err = errNotYet // other callers only peeked, twice
	}
	return s, err
}

func (e *epochs) failed(err error) {
	e.count(CountFailed)
	e.warn(err)
}

// peek returns the seal of an epoch, but does not make one: the error is then
// [ErrForeign]. It looks again unless good accepts what it found a moment ago (nil: it
// accepts anything).
func (e *epochs) peek(ctx context.Context, epoch string, good func(*seal) bool) (*seal, error) {
	s, _, err := e.seals.Get(ctx, epoch, good, func(ctx context.Context, _ cache.Last[*seal]) (cache.Entry[*seal], error) {
		s, err := e.reopen(ctx, epoch)
		if errors.Is(err, ErrForeign) {
			// Remembered for a moment only, since the epoch may begin at any time.
			return cache.Entry[*seal]{Expire: e.now().Add(peekTime)}, nil
		}
		return cache.Entry[*seal]{Value: s, Expire: e.now().Add(2 * epochKept)}, err
	})
	if err == nil && s == nil {
		err = ErrForeign
	}
	return s, err
}

// follow replaces a session's seal by that of the next epoch, if clocks that differ allow it
// to have begun and it has.
func (e *epochs) follow(ctx context.Context, s *currentSeal) (begun bool, err error) {
	next := e.now().UTC().Add(clockSlack).Format(epochLayout)
	if next == s.Load().epoch {
		return false, nil
	}
	following, err := e.peek(ctx, next, (*seal).begun)
	switch {
	case errors.Is(err, ErrForeign):
		return false, nil
	case err != nil:
		return false, err
	}
	s.Store(following)
	return true, nil
}

func epochRow(epoch string) string { return "epoch " + epoch }

// open finds the epoch's key in the table, or makes it. Its row cannot be sealed. An
// attacker who can write the table can damage it, which costs us the table; such an
// attacker could take that from us anyway.
func (e *epochs) open(ctx context.Context, epoch string) (*seal, error) {
	name := epochRow(epoch)
	for {
		item, err := e.table.Get(ctx, name)
		if err != nil {
			return nil, err
		}
		condition := Condition{FreeAt: e.now().UnixMilli()}
		if item != nil && len(item.Value) > 0 {
			s, err := e.decrypt(ctx, epoch, item)
			if !errors.Is(err, ErrNoKey) {
				return s, err
			}
			e.count(CountRefused)
			condition = Condition{Like: item}
		} else if item != nil && item.Until > e.now().Add(keyLease).UnixMilli() {
			condition = Condition{Like: item} // no environment leases it for so long
		}
		// A waiter only reads: a conditional write costs capacity also if it fails.
		if condition.Like != nil || item == nil || item.Until <= condition.FreeAt {
			s, err := e.generate(ctx, epoch, Item{Name: name}, condition)
			if !errors.Is(err, errNotYet) {
				return s, err
			}
		}
		if pause(ctx, keyPoll/4+time.Duration(e.rand()*float64(keyPoll*3/4))) != nil {
			return nil, errNotYet
		}
	}
}

// reopen finds the epoch's key in the table. The error is [ErrForeign] if it is not there.
func (e *epochs) reopen(ctx context.Context, epoch string) (*seal, error) {
	item, err := e.table.Get(ctx, epochRow(epoch))
	if err != nil {
		return nil, err
	}
	if item == nil || len(item.Value) == 0 {
		return nil, ErrForeign
	}
	s, err := e.decrypt(ctx, epoch, item)
	if errors.Is(err, ErrNoKey) {
		err = ErrForeign
	}
	return s, err
}

func (e *epochs) decrypt(ctx context.Context, epoch string, item *Item) (*seal, error) {
	plain, err := e.keys.Decrypt(ctx, epoch, item.Value)
	if err != nil {
		return nil, err
	}
	s, err := newSeal(epoch, plain)
	if err != nil {
		return nil, err
	}
	s, ok := s.followed(item.Name, item.State)
	if !ok {
		return nil, ErrNoKey
	}
	e.opened.Store(item)
	return s, nil
}

// guard writes the row of an epoch back if the table has lost it: environments that start
// afterwards would make another key, and have nothing in common with the others.
func (e *epochs) guard(ctx context.Context) error {
	opened := e.opened.Load()
	if opened == nil || opened.Name != epochRow(e.now().UTC().Format(epochLayout)) {
		return nil
	}
	item, err := e.table.Get(ctx, opened.Name)
	if err != nil || item != nil {
		return err
	}
	e.count(CountLost)
	_, _, err = e.table.Update(ctx, *opened, Condition{Like: &Item{}})
	return err
}

// generate makes the epoch's key if the row can be leased: of many environments that start
// together, one calls KMS for a new key, and the others once to decrypt it.
func (e *epochs) generate(ctx context.Context, epoch string, item Item, condition Condition) (*seal, error) {
	// Midnight may have passed since the epoch was asked for.
	day, err := time.Parse(epochLayout, epoch)
	if err != nil {
		return nil, err
	}
	midnight := day.Add(24 * time.Hour)
	item.Owner, item.Until, item.ExpiresAt = rand.Text(), e.now().Add(keyLease).UnixMilli(), midnight.Add(epochKept).Unix()
	switch _, ok, err := e.table.Update(ctx, item, condition); {
	case err != nil:
		return nil, err
	case !ok:
		return nil, errNotYet
	}
	plain, encrypted, err := e.keys.Generate(ctx, epoch)
	if err != nil {
		return nil, err
	}
	s, err := newSeal(epoch, plain)
	if err != nil {
		return nil, err
	}
	before, err := e.peek(ctx, day.Add(-24*time.Hour).Format(epochLayout), nil)
	if err != nil && !errors.Is(err, ErrForeign) {
		if e.now().Sub(day) < clockSlack {
			return nil, err // environments that know the day before are about to begin this one
		}
		// It is better to forget the day before than to have nothing in common.
		e.failed(err)
	}
	mine := Condition{OwnedBy: item.Owner, OwnedAt: e.now().UnixMilli()}
	item.Owner, item.Until, item.Value = "", midnight.UnixMilli(), encrypted
	s, item.State = s.follow(item.Name, before)
	_, ok, err := e.table.Update(ctx, item, mine)
	if err == nil && !ok {
		err = errNotYet
	}
	if err == nil {
		e.opened.Store(&item)
	}
	return s, err
}

// sign is [Fleet.Sign].
func (e *epochs) sign(ctx context.Context, purpose string, payload []byte, at time.Time) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	s, err := e.current(ctx)
	if err != nil {
		return "", ErrNoTable
	}
	if s.before != nil && s.before.epoch == at.UTC().Format(epochLayout) {
		s = s.before
	}
	return s.sign(purpose, payload), nil
}

// verify is [Fleet.Verify].
func (e *epochs) verify(ctx context.Context, purpose, text string) ([]byte, error) {
	parts := strings.Split(text, ".")
	if len(text) > maxSigned || len(parts) != 3 {
		return nil, ErrForeign
	}
	payload, err := base64.RawURLEncoding.Strict().DecodeString(parts[1])
	if err != nil {
		return nil, ErrForeign
	}
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	s, err := e.signer(ctx, parts[0])
	if err != nil {
		return nil, err
	}
	if !hmac.Equal([]byte(s.sign(purpose, payload)), []byte(text)) {
		return nil, ErrForeign
	}
	return payload, nil
}

// signer returns the seal of an epoch that signatures may be of. Unlike that of today, the
// seal of another day is not made if it is not there.
func (e *epochs) signer(ctx context.Context, epoch string) (s *seal, err error) {
	now := e.now().UTC()
	switch epoch {
	case now.Format(epochLayout), now.Add(-24 * time.Hour).Format(epochLayout):
		// Today's seal brings yesterday's with it.
		if s, err = e.current(ctx); err == nil && s.before != nil && s.epoch != epoch {
			s = s.before
		}
		if err == nil && s.epoch != epoch {
			s, err = e.peek(ctx, epoch, nil)
		}
	case now.Add(clockSlack).Format(epochLayout):
		s, err = e.peek(ctx, epoch, nil)
	default:
		err = ErrForeign
	}
	if err != nil && !errors.Is(err, ErrForeign) {
		err = ErrNoTable
	}
	return s, err
}
