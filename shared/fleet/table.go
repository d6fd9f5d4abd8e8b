package fleet

import (
	"context"
	"errors"
	"time"
)

// Item is a row as the table has it. Zero members are absent.
type Item struct {
	// Name is the hash key.
	Name string
	// Until is when the row is free, in Unix milliseconds.
	Until int64
	// Owner names the lease that the row is under; empty: none.
	Owner string
	// State is Until, Owner and more, sealed. Value is the result of the work, sealed.
	State, Value []byte
	// ExpiresAt is when DynamoDB may delete the row, in Unix seconds.
	ExpiresAt int64
}

// Condition says what a row must be like for a write. Exactly one member is set.
type Condition struct {
	// FreeAt: there is no such row, or its Until is not after this time (Unix
	// milliseconds).
	FreeAt int64
	// OwnedBy: it is under this lease, and its Until is not before OwnedAt.
	OwnedBy string
	OwnedAt int64
	// Like: its Until and State are those of this item; an item without a name means
	// that there is no such row.
	Like *Item
	// Any: there is no condition.
	Any bool
}

// The names that Config.Count is called with.
const (
	// CountRefused: a row of the table was not made by this deployment, or not for
	// this name.
	CountRefused = "TableRefused"
	// CountFailed: the table, or the key, could not be used.
	CountFailed = "TableFailed"
	// CountLost: a row that this environment saw was deleted before its time, or replaced
	// by an older one.
	CountLost = "TableRowsLost"
)

// ErrThrottled is wrapped by the errors of a [Table] that answers, but has no capacity for the
// call now. DynamoDB gives one item 1000 write units and 3000 read units a second.
var ErrThrottled = errors.New("the table throttles")

// Table is a DynamoDB table. Its errors hold no values. It is safe for concurrent use.
type Table interface {
	// Get reads a row consistently; nil: there is none.
	Get(ctx context.Context, name string) (*Item, error)
	// Update sets the members of a row that are not absent in item, and removes
	// Owner if it is. It returns the row as it was before (nil: there was none),
	// also when ok is false because the condition does not hold.
	Update(ctx context.Context, item Item, condition Condition) (old *Item, ok bool, err error)
}

// ErrNoKey is wrapped by the errors of [Keys] for an encrypted key that can never be
// decrypted.
var ErrNoKey = errors.New("not a key of this deployment")

// Keys is a KMS key that encrypts data keys, bound to an epoch by the encryption context.
// It is safe for concurrent use.
type Keys interface {
	// Generate makes a data key of 32 bytes.
	Generate(ctx context.Context, epoch string) (plain, encrypted []byte, err error)
	// Decrypt decrypts one.
	Decrypt(ctx context.Context, epoch string, encrypted []byte) (plain []byte, err error)
}

const (
	// firstThrottled is the first pause after a throttled call, doubling to longThrottled;
	// each is jittered down to half. DynamoDB gives an item 3000 reads a second, so that
	// throttledTries of them, 5 s, outlast the calls of 10 000 environments that ask at
	// once.
	firstThrottled = 50 * time.Millisecond
	longThrottled  = 800 * time.Millisecond
	throttledTries = 12
)

// retryThrottled calls do again while the table throttles, so many times in all. It returns the
// last error.
func retryThrottled(ctx context.Context, rand func() float64, tries int, do func() error) error {
	backoff := firstThrottled
	for try := 1; ; try++ {
		err := do()
		if !errors.Is(err, ErrThrottled) || try == tries {
			return err
		}
		if pause(ctx, halfJitter(backoff, rand)) != nil {
			return err
		}
		backoff = min(2*backoff, longThrottled)
	}
}

// halfJitter returns a random part of d, at least half of it.
func halfJitter(d time.Duration, rand func() float64) time.Duration {
	return d/2 + time.Duration(rand()*float64(d/2))
}

// pause waits for d. It returns the error of ctx if that ended first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// retryingTable is a Table whose throttled calls are made again.
type retryingTable struct {
	table Table
	rand  func() float64
}

func (t retryingTable) Get(ctx context.Context, name string) (item *Item, err error) {
	err = retryThrottled(ctx, t.rand, throttledTries, func() error {
		item, err = t.table.Get(ctx, name)
		return err
	})
	return item, err
}

func (t retryingTable) Update(ctx context.Context, item Item, condition Condition) (old *Item, ok bool, err error) {
	err = retryThrottled(ctx, t.rand, throttledTries, func() error {
		old, ok, err = t.table.Update(ctx, item, condition)
		return err
	})
	return old, ok, err
}
