// Package secret defines what every reader of a secret needs: the secret as it was read,
// the interface that reads it, and the errors of that interface. A client's document and
// the policy are secrets. The package imports the standard library only.
package secret

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"
)

// The errors that the error of a [Reader] wraps.
var (
	// ErrNotFound means that there is no such secret, that it has no value, or that it is
	// scheduled for deletion. The text of the error that wraps it says which.
	ErrNotFound = errors.New("no such secret")
	// ErrDenied means that IAM does not allow the use of the secret or of the key that
	// encrypts it, or that the key is disabled.
	ErrDenied = errors.New("access denied")
	// ErrUnavailable means that a later call may succeed.
	ErrUnavailable = errors.New("not available now")
)

// Secret is a secret as it was read.
type Secret struct {
	// Text is the SecretString or the SecretBinary; nil if the secret is that of [Want].Known.
	Text []byte
	// Version is the identifier of the secret's version (VersionId).
	Version string
	// Created is when that version was written; zero: that is not known.
	Created time.Time
	// Read is when it was read, by the clock of the environment that did; zero: just now.
	Read time.Time
	// Shared means that another environment read it, or this one did before.
	Shared bool
}

// Identity tells whether two readings found the same: neither the version nor the text alone
// does. The zero value is that of no secret.
type Identity struct {
	Version string
	// Digest is the SHA-256 of the text.
	Digest [sha256.Size]byte
}

// Identity returns that of a secret with its text.
func (s Secret) Identity() Identity { return Identity{s.Version, sha256.Sum256(s.Text)} }

// Want says which reading of a secret will do. The zero value wants one that is made now.
type Want struct {
	// Once means that one attempt is enough, because the caller has an older version to fall
	// back on.
	Once bool
	// MaxAge is how old a reading of another environment may be; zero: the secret is read now.
	// A Reader that shares none ignores it.
	MaxAge time.Duration
	// Known is what the caller has. If a shared reading found the same, its text need not be
	// returned.
	Known Identity
}

// Reader reads one version of a secret: the current one (AWSCURRENT), or the one before it
// (AWSPREVIOUS) where its user says so. Its error wraps [ErrNotFound] (also if there is no such
// version), [ErrDenied], [ErrUnavailable] or the error of an ended context, and holds neither a
// value nor an ARN. A Reader is safe for concurrent use.
type Reader interface {
	ReadSecret(ctx context.Context, name string, want Want) (Secret, error)
}

// ReaderFunc is a function as a [Reader].
type ReaderFunc func(ctx context.Context, name string, want Want) (Secret, error)

// ReadSecret implements [Reader].
func (f ReaderFunc) ReadSecret(ctx context.Context, name string, want Want) (Secret, error) {
	return f(ctx, name, want)
}
