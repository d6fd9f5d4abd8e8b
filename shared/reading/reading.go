// Package reading shares readings of secrets: what one environment has read from Secrets
// Manager serves all environments that use the same table, as long as it would serve the
// environment itself.
//
// The small row of a secret says which version was read and when. An environment that knows
// that version reads nothing else; another one reads the text, which is in the row of the
// value, sealed as all rows are. Times count from the reading, not from when an environment
// learns of it. A reading that failed is not shared: each environment finds out for itself.
package reading

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"time"

	"tokenvendor/shared/fleet"
	"tokenvendor/shared/secret"
)

const (
	// life is how long a reading is shared, however old a [secret.Want] takes one.
	life = 5 * time.Minute
	// waitTime is how long an environment waits for the reading of another one, before it
	// reads the secret itself.
	waitTime = time.Second
	// failTime is how long nobody waits for anybody after a reading that failed.
	failTime = time.Second
	// maxClockAhead is how far ahead of this environment's clock a reading may be. The age of
	// one that is further ahead is not known.
	maxClockAhead = 5 * time.Second
	// tries is how many readings without their texts are passed over, before the secret is read
	// without the table.
	tries = 3
)

// Config configures a [Reader]. All members are required, but for Fleet and Count.
type Config struct {
	// Secrets reads secrets now.
	Secrets secret.Reader
	// Fleet has the table; nil: there is none, and every reading is made by Secrets.
	Fleet *fleet.Fleet
	// Count is told of texts that do not belong to their reading, by a name of package fleet;
	// nil: it is not.
	Count func(name string)
	// Now is the clock, also that of Fleet.
	Now func() time.Time
}

// Reader reads secrets, or takes the readings of other environments. It implements
// [secret.Reader] and is safe for concurrent use.
type Reader struct{ cfg Config }

// New returns a Reader.
func New(cfg Config) *Reader {
	clock := cfg.Now
	// The monotonic clock stops while a function is frozen.
	cfg.Now = func() time.Time { return clock().Round(0) }
	if cfg.Count == nil {
		cfg.Count = func(string) {}
	}
	return &Reader{cfg}
}

// note is the note of a secret's row.
type note struct {
	Version string    `json:"version"`
	Digest  []byte    `json:"digest"`
	Created time.Time `json:"created,omitzero"`
	Read    time.Time `json:"read"`
}

// ReadSecret implements [secret.Reader]. If want says that the secret is to be read now, it does
// that, and the reading is shared so that other environments learn of a change.
func (r *Reader) ReadSecret(ctx context.Context, name string, want secret.Want) (secret.Secret, error) {
	session := r.cfg.Fleet.Session(ctx)
	var unusable []byte
	for range tries {
		a := session.Acquire(ctx, fleet.SecretRow, name, fleet.Want{
			Current:  func(text []byte) bool { return !bytes.Equal(text, unusable) && r.current(text, want.MaxAge) },
			Cached:   want.MaxAge <= 0,
			Patience: waitTime,
		})
		if a.State != fleet.Done {
			return r.read(ctx, name, want.Once, &a)
		}
		if s, ok := r.open(ctx, &a, want.Known); ok {
			return s, nil
		}
		unusable = a.Row.Note
	}
	return r.read(ctx, name, want.Once, &fleet.Acquisition{})
}

// current reports whether a reading is younger than an age. No reading is younger than 0, also if
// its clock is ahead.
func (r *Reader) current(text []byte, maxAge time.Duration) bool {
	var n note
	if json.Unmarshal(text, &n) != nil {
		return false
	}
	age := r.cfg.Now().Sub(n.Read)
	return age >= -maxClockAhead && max(age, 0) < maxAge
}

// open returns the secret of a reading, without its text if that is known. It returns false if
// the table does not have the text.
func (r *Reader) open(ctx context.Context, a *fleet.Acquisition, known secret.Identity) (secret.Secret, bool) {
	var n note
	if json.Unmarshal(a.Row.Note, &n) != nil || len(n.Digest) != sha256.Size {
		return secret.Secret{}, false
	}
	s := secret.Secret{Version: n.Version, Created: n.Created, Read: n.Read, Shared: true}
	if now := r.cfg.Now(); s.Read.After(now) {
		s.Read = now
	}
	if known == (secret.Identity{Version: n.Version, Digest: [sha256.Size]byte(n.Digest)}) {
		return s, true
	}
	s.Text = a.Value(ctx)
	sum := sha256.Sum256(s.Text)
	if s.Text != nil && !bytes.Equal(sum[:], n.Digest) {
		r.cfg.Count(fleet.CountRefused) // the text of an older reading
		return s, false
	}
	return s, s.Text != nil
}

// read reads the secret now, and leaves the result in the row if this environment has its lease.
func (r *Reader) read(ctx context.Context, name string, once bool, a *fleet.Acquisition) (secret.Secret, error) {
	// Take the time before the read: the process may be frozen while the read is in flight.
	now := r.cfg.Now()
	s, err := r.cfg.Secrets.ReadSecret(ctx, name, secret.Want{Once: once})
	s.Read = now
	if a.Lease == nil {
		return s, err
	}
	if err != nil {
		a.Lease.Finish(ctx, r.failed(err, &a.Row))
		return s, err
	}
	sum := sha256.Sum256(s.Text)
	text, err := json.Marshal(note{Version: s.Version, Digest: sum[:], Created: s.Created, Read: now})
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	a.Lease.Finish(ctx, fleet.Result{Until: now.Add(life), Note: text, Value: s.Text})
	return s, nil
}

// failed returns how a reading that failed leaves the row. What nobody may read any more is not
// kept in the table; a reading that still serves is.
func (r *Reader) failed(err error, row *fleet.Row) fleet.Result {
	result := fleet.Result{Until: r.cfg.Now().Add(failTime), Failures: 1}
	gone := errors.Is(err, secret.ErrNotFound) || errors.Is(err, secret.ErrDenied)
	switch {
	case !gone && r.current(row.Note, life):
		result = fleet.Result{Until: row.Until, Note: row.Note}
	case gone && row.Note != nil:
		result.Value = []byte{}
	}
	return result
}
