package fleet

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"tokenvendor/shared/cache"
)

const (
	// epochLayout names an epoch: a day of UTC.
	epochLayout = time.DateOnly
	// keyLease is how long others wait for an environment that asks KMS for the
	// epoch's key.
	keyLease = 3 * time.Second
	// notYetRest is how soon it is looked for again by who has waited in vain.
	notYetRest = time.Second
	// epochKept is how long an epoch's row outlives its epoch, for clocks that
	// are behind.
	epochKept = 24 * time.Hour
	// clockSlack is how far ahead the clock of another environment may be.
	clockSlack = 5 * time.Minute
	// peekRest is how long it is known that an epoch has not begun.
	peekRest = 2 * time.Second
)

var errNotYet = errors.New("another environment is making the epoch's key")

// seal returns that of today; or of tomorrow, if an environment whose clock is ahead has
// begun it: all must be able to read what the others write.
func (f *Fleet) seal(ctx context.Context) (*seal, error) {
	now := f.wall().UTC()
	epoch, next := now.Format(epochLayout), now.Add(clockSlack).Format(epochLayout)
	if next != epoch {
		if s, err := f.peek(ctx, next, nil); err == nil {
			return s, nil
		}
	}
	s, _, err := f.epochs.Get(ctx, epoch, (*seal).begun, func(ctx context.Context, _ cache.Last[*seal]) (cache.Entry[*seal], error) {
		s, err := f.open(ctx, epoch)
		if err != nil {
			f.count(CountFailed)
			f.warn(err)
		}
		return cache.Entry[*seal]{Value: s, Expire: f.wall().Add(2 * epochKept)}, err
	})
	if err == nil && s == nil {
		err = errNotYet // others only peeked, twice
	}
	return s, err
}

// peek returns the seal of an epoch that is not made if it isn't there: the error is then
// [ErrForeign]. It looks again unless good accepts what it found a moment ago (nil: whatever
// that was).
func (f *Fleet) peek(ctx context.Context, epoch string, good func(*seal) bool) (*seal, error) {
	s, _, err := f.epochs.Get(ctx, epoch, good, func(ctx context.Context, _ cache.Last[*seal]) (cache.Entry[*seal], error) {
		s, err := f.reopen(ctx, epoch)
		if errors.Is(err, ErrForeign) {
			// Known for a moment only, since it may begin at any time.
			return cache.Entry[*seal]{Expire: f.wall().Add(peekRest)}, nil
		}
		return cache.Entry[*seal]{Value: s, Expire: f.wall().Add(2 * epochKept)}, err
	})
	if err == nil && s == nil {
		err = ErrForeign
	}
	return s, err
}

// follow goes on with the next epoch if another environment, whose clock is ahead, has begun
// it since it was peeked at: what that wrote must not be taken for somebody else's.
func (v *Visit) follow(ctx context.Context) bool {
	next := v.f.wall().UTC().Add(clockSlack).Format(epochLayout)
	if next == v.seal.Load().epoch {
		return false
	}
	var s *seal
	answered, _ := v.call(ctx, false, func(ctx context.Context) (err error) {
		s, err = v.f.peek(ctx, next, (*seal).begun)
		if errors.Is(err, ErrForeign) {
			err = nil
		}
		return err
	})
	if !answered || s == nil {
		return false
	}
	v.seal.Store(s)
	return true
}

func epochRow(epoch string) string { return "epoch " + epoch }

// open finds the epoch's key in the table, or makes it. Its row can't be sealed:
// that whoever writes the table can spoil it costs us the table, which they could
// take from us anyway.
func (f *Fleet) open(ctx context.Context, epoch string) (*seal, error) {
	name := epochRow(epoch)
	for {
		item, err := f.table.Get(ctx, name)
		if err != nil {
			return nil, err
		}
		condition := Condition{FreeAt: f.wall().UnixMilli()}
		if item != nil && len(item.Value) > 0 {
			s, err := f.decrypt(ctx, epoch, item)
			if !errors.Is(err, ErrNoKey) {
				return s, err
			}
			f.count(CountRefused)
			condition = Condition{Like: item}
		} else if item != nil && item.Until > f.wall().Add(keyLease).UnixMilli() {
			condition = Condition{Like: item} // nobody leases it for so long
		}
		s, err := f.generate(ctx, epoch, Item{Name: name}, condition)
		if !errors.Is(err, errNotYet) {
			return s, err
		}
		if f.pause(ctx) != nil {
			return nil, errNotYet
		}
	}
}

// reopen finds the epoch's key in the table; [ErrForeign]: it isn't there.
func (f *Fleet) reopen(ctx context.Context, epoch string) (*seal, error) {
	item, err := f.table.Get(ctx, epochRow(epoch))
	if err != nil {
		return nil, err
	}
	if item == nil || len(item.Value) == 0 {
		return nil, ErrForeign
	}
	s, err := f.decrypt(ctx, epoch, item)
	if errors.Is(err, ErrNoKey) {
		err = ErrForeign
	}
	return s, err
}

func (f *Fleet) decrypt(ctx context.Context, epoch string, item *Item) (*seal, error) {
	plain, err := f.keys.Decrypt(ctx, epoch, item.Value)
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
	return s, nil
}

// generate makes the epoch's key if the row can be leased: of many that start
// together one calls KMS for a new key, and the others once to open it.
func (f *Fleet) generate(ctx context.Context, epoch string, item Item, condition Condition) (*seal, error) {
	// Midnight may have passed since the epoch was asked for.
	day, err := time.Parse(epochLayout, epoch)
	if err != nil {
		return nil, err
	}
	midnight := day.Add(24 * time.Hour)
	item.Owner, item.Until, item.ExpiresAt = rand.Text(), f.wall().Add(keyLease).UnixMilli(), midnight.Add(epochKept).Unix()
	switch _, ok, err := f.table.Update(ctx, item, condition); {
	case err != nil:
		return nil, err
	case !ok:
		return nil, errNotYet
	}
	plain, encrypted, err := f.keys.Generate(ctx, epoch)
	if err != nil {
		return nil, err
	}
	s, err := newSeal(epoch, plain)
	if err != nil {
		return nil, err
	}
	before, err := f.peek(ctx, day.Add(-24*time.Hour).Format(epochLayout), nil)
	if err != nil && !errors.Is(err, ErrForeign) {
		if f.wall().Sub(day) < clockSlack {
			return nil, err // others, who remember, are about to begin it
		}
		// Better to forget what was before than to have nothing in common.
		f.count(CountFailed)
		f.warn(err)
	}
	mine := Condition{OwnedBy: item.Owner, OwnedAt: f.wall().UnixMilli()}
	item.Owner, item.Until, item.Value = "", midnight.UnixMilli(), encrypted
	s, item.State = s.follow(item.Name, before)
	_, ok, err := f.table.Update(ctx, item, mine)
	if err == nil && !ok {
		err = errNotYet
	}
	return s, err
}

// pause waits a while for another environment.
func (f *Fleet) pause(ctx context.Context) error {
	timer := time.NewTimer(60*time.Millisecond + time.Duration(f.rand()*float64(190*time.Millisecond)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
