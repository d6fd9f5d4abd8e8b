package fleet

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"tokenvendor/shared/cache"
)

var (
	// ErrForeign: a text was not signed by this deployment, or before yesterday.
	ErrForeign = errors.New("not signed by this deployment, or too long ago")
	// ErrNoTable: the table, or its key, cannot be used now.
	ErrNoTable = errors.New("the shared table cannot be used now")
)

// maxSigned bounds a signed text.
const maxSigned = 16 << 10

// Sign returns a text that holds payload and that only environments of this fleet can
// have made, for that purpose. It is base64url and dots, the same for the same payload on
// the same day (UTC), and can be read by anybody. The error wraps [ErrNoTable].
func (f *Fleet) Sign(ctx context.Context, purpose string, payload []byte) (string, error) {
	if f == nil {
		return "", ErrNoTable
	}
	epoch := f.wall().UTC().Format(epochLayout)
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	s, err := f.seal(ctx)
	if err != nil {
		return "", ErrNoTable
	}
	return s.sign(purpose, epoch, payload), nil
}

// Verify returns the payload of a text that [Fleet.Sign] has made for that purpose today
// or yesterday. The error wraps [ErrForeign] or [ErrNoTable].
func (f *Fleet) Verify(ctx context.Context, purpose, text string) ([]byte, error) {
	parts := strings.Split(text, ".")
	if f == nil || len(text) > maxSigned || len(parts) != 3 {
		return nil, ErrForeign
	}
	payload, err := base64.RawURLEncoding.Strict().DecodeString(parts[1])
	if err != nil {
		return nil, ErrForeign
	}
	s, err := f.sealOf(ctx, parts[0])
	if err != nil {
		return nil, err
	}
	if !hmac.Equal([]byte(s.sign(purpose, parts[0], payload)), []byte(text)) {
		return nil, ErrForeign
	}
	return payload, nil
}

// sealOf returns the seal of an epoch that signatures may be of. Unlike that of today,
// one of another day is not made when it isn't there.
func (f *Fleet) sealOf(ctx context.Context, epoch string) (*seal, error) {
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	now := f.wall().UTC()
	var s *seal
	var err error
	switch epoch {
	case now.Format(epochLayout):
		s, err = f.seal(ctx)
	case now.Add(-24 * time.Hour).Format(epochLayout), now.Add(clockSlack).Format(epochLayout):
		s, _, err = f.epochs.Get(ctx, epoch, nil, func(ctx context.Context, _ cache.Last[*seal]) (cache.Entry[*seal], error) {
			s, err := f.reopen(ctx, epoch)
			return cache.Entry[*seal]{Value: s, Expire: f.wall().Add(2 * epochKept)}, err
		})
	default:
		err = ErrForeign
	}
	if err != nil && !errors.Is(err, ErrForeign) {
		err = ErrNoTable
	}
	return s, err
}

// clockSlack is how far ahead the clock of the environment that signed may be.
const clockSlack = 5 * time.Minute

func (f *Fleet) reopen(ctx context.Context, epoch string) (*seal, error) {
	item, err := f.table.Get(ctx, "epoch "+epoch)
	if err != nil {
		return nil, err
	}
	if item == nil || len(item.Value) == 0 {
		return nil, ErrForeign
	}
	s, err := f.decrypt(ctx, epoch, item.Value)
	if errors.Is(err, ErrNoKey) {
		err = ErrForeign
	}
	return s, err
}

func (s *seal) sign(purpose, epoch string, payload []byte) string {
	mac := hmac.New(sha256.New, s.signatures)
	// Neither a purpose nor an epoch holds a line break.
	mac.Write([]byte(purpose + "\n" + epoch + "\n"))
	mac.Write(payload)
	encode := base64.RawURLEncoding.EncodeToString
	return epoch + "." + encode(payload) + "." + encode(mac.Sum(nil))
}
