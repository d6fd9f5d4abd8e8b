// Package secret defines what every reader of a secret needs: the secret as it was read,
// the interface that reads it, and the errors of that interface. A client's document and
// the policy are secrets. The package imports the standard library only.
package secret

import (
	"context"
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
	// Text is the SecretString or the SecretBinary.
	Text []byte
	// Version is the identifier of the secret's version (VersionId).
	Version string
	// Created is when that version was written; zero: that is not known.
	Created time.Time
}

// Reader reads one version of a secret: the current one (AWSCURRENT), or the one before it
// (AWSPREVIOUS) where its user says so. If once is true, it makes one attempt only, because
// the caller has an older version to fall back on. Its error wraps [ErrNotFound] (also if
// there is no such version), [ErrDenied], [ErrUnavailable] or the error of an ended context,
// and holds neither a value nor an ARN. A Reader is safe for concurrent use.
type Reader interface {
	ReadSecret(ctx context.Context, name string, once bool) (Secret, error)
}

// ReaderFunc is a function as a [Reader].
type ReaderFunc func(ctx context.Context, name string, once bool) (Secret, error)

// ReadSecret implements [Reader].
func (f ReaderFunc) ReadSecret(ctx context.Context, name string, once bool) (Secret, error) {
	return f(ctx, name, once)
}
