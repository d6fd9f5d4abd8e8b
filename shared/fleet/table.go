package fleet

import (
	"context"
	"errors"
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
)

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
