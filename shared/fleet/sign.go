package fleet

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"time"
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
// have made, for that purpose, on the day (UTC) of at: today or yesterday, anything else
// counts as now. It is base64url and dots, the same for the same payload and day, and can
// be read by anybody. The error wraps [ErrNoTable].
func (f *Fleet) Sign(ctx context.Context, purpose string, payload []byte, at time.Time) (string, error) {
	if f == nil {
		return "", ErrNoTable
	}
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	s, err := f.seal(ctx)
	if err != nil {
		return "", ErrNoTable
	}
	if s.before != nil && s.before.epoch == at.UTC().Format(epochLayout) {
		s = s.before
	}
	return s.sign(purpose, payload), nil
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
	if !hmac.Equal([]byte(s.sign(purpose, payload)), []byte(text)) {
		return nil, ErrForeign
	}
	return payload, nil
}

// sealOf returns the seal of an epoch that signatures may be of. Unlike that of today,
// one of another day is not made when it isn't there.
func (f *Fleet) sealOf(ctx context.Context, epoch string) (s *seal, err error) {
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	now := f.wall().UTC()
	switch epoch {
	case now.Format(epochLayout), now.Add(-24 * time.Hour).Format(epochLayout):
		// Today's brings yesterday's with it.
		if s, err = f.seal(ctx); err == nil && s.before != nil && s.epoch != epoch {
			s = s.before
		}
		if err == nil && s.epoch != epoch {
			s, err = f.peek(ctx, epoch, nil)
		}
	case now.Add(clockSlack).Format(epochLayout):
		s, err = f.peek(ctx, epoch, nil)
	default:
		err = ErrForeign
	}
	if err != nil && !errors.Is(err, ErrForeign) {
		err = ErrNoTable
	}
	return s, err
}

func (s *seal) sign(purpose string, payload []byte) string {
	mac := hmac.New(sha256.New, s.signatures)
	// Neither a purpose nor an epoch holds a line break.
	mac.Write([]byte(purpose + "\n" + s.epoch + "\n"))
	mac.Write(payload)
	encode := base64.RawURLEncoding.EncodeToString
	return s.epoch + "." + encode(payload) + "." + encode(mac.Sum(nil))
}
