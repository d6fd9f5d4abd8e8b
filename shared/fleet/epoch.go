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
	// epochKept is how long an epoch's row outlives its epoch, for clocks that
	// are behind.
	epochKept = 24 * time.Hour
)

var errNotYet = errors.New("another environment is making the epoch's key")

// seal returns the epoch's.
func (f *Fleet) seal(ctx context.Context) (*seal, error) {
	epoch := f.wall().UTC().Format(epochLayout)
	s, _, err := f.epochs.Get(ctx, epoch, nil, func(ctx context.Context, _ cache.Last[*seal]) (cache.Entry[*seal], error) {
		s, err := f.open(ctx, epoch)
		if err != nil {
			f.count(CountFailed)
			f.warn(err)
		}
		return cache.Entry[*seal]{Value: s, Expire: f.wall().Add(2 * epochKept)}, err
	})
	return s, err
}

// open finds the epoch's key in the table, or makes it. Its row can't be sealed:
// that whoever writes the table can spoil it costs us the table, which they could
// take from us anyway.
func (f *Fleet) open(ctx context.Context, epoch string) (*seal, error) {
	name := "epoch " + epoch
	for {
		item, err := f.table.Get(ctx, name)
		if err != nil {
			return nil, err
		}
		condition := Condition{FreeAt: f.wall().UnixMilli()}
		if item != nil && len(item.Value) > 0 {
			s, err := f.decrypt(ctx, epoch, item.Value)
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
		if err := f.pause(ctx); err != nil {
			return nil, err
		}
	}
}

func (f *Fleet) decrypt(ctx context.Context, epoch string, encrypted []byte) (*seal, error) {
	plain, err := f.keys.Decrypt(ctx, epoch, encrypted)
	if err != nil {
		return nil, err
	}
	return newSeal(plain)
}

// generate makes the epoch's key if the row can be leased: of many that start
// together one calls KMS for a new key, and the others once to open it.
func (f *Fleet) generate(ctx context.Context, epoch string, item Item, condition Condition) (*seal, error) {
	now := f.wall()
	midnight := now.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
	item.Owner, item.Until, item.ExpiresAt = rand.Text(), now.Add(keyLease).UnixMilli(), midnight.Add(epochKept).Unix()
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
	s, err := newSeal(plain)
	if err != nil {
		return nil, err
	}
	mine := Condition{OwnedBy: item.Owner, OwnedAt: f.wall().UnixMilli()}
	item.Owner, item.Until, item.Value = "", midnight.UnixMilli(), encrypted
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
