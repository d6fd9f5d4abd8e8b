package tokensource

import (
	"crypto/sha256"
	"encoding/hex"
	"sync/atomic"
	"time"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
)

const (
	// refreshShare of its life a token is replaced after, give or take refreshJitter, so
	// that environments that started together do not refresh together.
	refreshShare  = 0.8
	refreshJitter = 0.05
	// shortLife is the longest life that is not worth an early refresh; SAP allows a
	// minute.
	shortLife = time.Minute
)

// Token is an access token with the time in which it is handed out. It is immutable but
// for what is known of the table.
type Token struct {
	*oauth.Token
	// client, version and credential are those that obtained it.
	client, version, credential string
	fingerprint                 string
	// forced is when a caller's "rejected" brought it; zero: it came without.
	forced time.Time
	// single means that it is not replaced before its end; see [registry.Client.SingleToken].
	single bool
	// shared means that another environment of the fleet fetched it.
	shared bool
	// used means that this environment has noted its use; see [usage].
	used atomic.Bool
	// published means that the other environments can have it; false: that is not known.
	published atomic.Bool
}

// keptToItsEnd returns t as a token that is not replaced before its end.
func (t *Token) keptToItsEnd() *Token {
	if t.single {
		return t
	}
	kept := &Token{
		Token: t.Token, client: t.client, version: t.version, credential: t.credential, fingerprint: t.fingerprint,
		forced: t.forced, single: true, shared: t.shared,
	}
	kept.published.Store(t.Published())
	return kept
}

// Single reports whether the token is not replaced before its end, whatever a caller asks for;
// see [registry.Client.SingleToken].
func (t *Token) Single() bool { return t.single }

// Size returns the size of the token in memory, in bytes.
func (t *Token) Size() int {
	const own = 200 // without texts
	return own + t.Token.Size() + len(t.client) + len(t.version) + len(t.credential) + len(t.fingerprint)
}

// Fingerprint returns the SHA-256 of the access token in lower-case hex, which names it in
// logs and in the parameter rejected.
func (t *Token) Fingerprint() string { return t.fingerprint }

// Version returns the version of the client's secret that obtained the token.
func (t *Token) Version() string { return t.version }

// ObtainedBy reports whether the client's present credential obtained the token.
func (t *Token) ObtainedBy(c *registry.Client) bool { return t.credential == c.Credential }

// Published reports whether the other environments can have the token; false: that is not
// known.
func (t *Token) Published() bool { return t.published.Load() }

// Life returns how long the token was granted for; 0: the server did not say.
func (t *Token) Life() time.Duration {
	if t.Expiry().IsZero() {
		return 0
	}
	return t.Expiry().Sub(t.Issued())
}

// End returns when the token is handed out no more, some time before its expiry, because a
// caller needs time to use it; zero: the server did not say how long it lives.
func (t *Token) End() time.Time {
	if t.Expiry().IsZero() {
		return time.Time{}
	}
	// At least a second is left, because expires_in is in whole seconds, and a client may
	// take 0 for a token that never expires.
	margin := max(time.Second, min(30*time.Second, t.Life()/20))
	return t.Expiry().Add(-min(margin, t.Life()/2))
}

// Ended reports whether End is not after now.
func (t *Token) Ended(now time.Time) bool {
	end := t.End()
	return !end.IsZero() && !now.Before(end)
}

// RefreshPoint returns when the token should be replaced. No caller needs to ask again
// before.
func (t *Token) RefreshPoint() time.Time {
	if t.single {
		return t.End()
	}
	return t.Issued().Add(time.Duration(float64(t.Life()) * refreshShare))
}

// Fingerprint returns the SHA-256 of an access token in lower-case hex.
func Fingerprint(t *oauth.Token) string {
	sum := sha256.Sum256([]byte(t.AccessToken().Expose()))
	return hex.EncodeToString(sum[:])
}
