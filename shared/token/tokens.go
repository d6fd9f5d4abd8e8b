package token

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"sync/atomic"
	"time"

	"tokenvendor/shared/cache"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
)

const (
	// maxTokenBytes and maxTokens bound the memory for tokens; maxClientTokens is
	// how many of them one client may have, so that callers who vary a parameter
	// don't drive out the others' tokens.
	maxTokenBytes   = 32 << 20
	maxTokens       = 10_000
	maxClientTokens = 64
	// refreshShare of its life a token is replaced after, give or take
	// refreshJitter, so that environments that started together don't go on so.
	refreshShare  = 0.8
	refreshJitter = 0.05
	// shortLife is the longest life that isn't worth an early refresh; SAP allows
	// a minute.
	shortLife = time.Minute
	// forcedInterval is how often callers may have a token replaced by saying that
	// it was rejected, or by asking for all of its life.
	forcedInterval = 30 * time.Second

	// firstRest is how long a failed first exchange is remembered at most,
	// doubling to coldRest with further ones.
	firstRest = 5 * time.Second
	coldRest  = 30 * time.Second
	// refreshRest is how long a failed refresh is remembered at least, doubling
	// to longRest: an authorization server that is down is not called by everybody
	// all the time.
	refreshRest = 30 * time.Second
	longRest    = 5 * time.Minute
	restJitter  = 0.25
)

// held is a token in memory.
type held struct {
	*oauth.Token
	client, version string
	// fingerprint is the token's [Fingerprint].
	fingerprint string
	// forced is when a caller's "rejected" brought it; zero: none did.
	forced time.Time
	// shared says that another environment of the fleet fetched it.
	shared bool
	// inTable says that the others can have it; false: that is not known.
	inTable atomic.Bool
}

func (t *held) size() int { return t.Size() }

// life is how long the token was granted for; 0: the server did not say.
func (t *held) life() time.Duration {
	if t.Expiry().IsZero() {
		return 0
	}
	return t.Expiry().Sub(t.Issued())
}

// end is when a token is given out no more: a caller needs time to use it.
func (t *held) end() time.Time {
	if t.Expiry().IsZero() {
		return time.Time{}
	}
	return t.Expiry().Add(-min(30*time.Second, t.life()/20))
}

// refreshPoint is when a token should be replaced, and before which nobody needs
// to ask again.
func (t *held) refreshPoint() time.Time {
	return t.Issued().Add(time.Duration(float64(t.life()) * refreshShare))
}

// entry is t as the cache keeps it.
func (v *Vendor) entry(t *held) cache.Entry[*held] {
	e := cache.Entry[*held]{Value: t, Expire: t.end()}
	if life := t.life(); life > shortLife {
		jitter := refreshJitter * (2*v.rand() - 1)
		e.Refresh = t.refreshPoint().Add(time.Duration(float64(life) * jitter))
	}
	return e
}

// acceptable says whether a token in memory will do for r: enough life is left, or it is
// so new that another would hardly live longer; and it isn't the one that a resource
// server refused, unless it was fetched for such a refusal just now.
func (v *Vendor) acceptable(r Request) func(*held) bool {
	if r.MinTTL == 0 && r.Rejected == "" {
		return nil
	}
	return func(t *held) bool {
		now := v.now()
		if r.Rejected != "" && now.Sub(t.forced) >= forcedInterval && t.fingerprint == r.Rejected {
			return false
		}
		young := t.life() / 10
		if r.MinTTL <= t.life() {
			// Another would do, but not one a second.
			young = min(young, forcedInterval)
		}
		return now.Sub(t.Issued()) < young || t.Expiry().Sub(now) >= r.MinTTL
	}
}

// afterTokenError says how long a key rests.
func (v *Vendor) afterTokenError(err error, failures int, warm bool) cache.Reaction {
	e := AsError(err)
	if e.rest > 0 {
		return cache.Reaction{Rest: e.rest}
	}
	return cache.Reaction{Rest: v.restFor(e, failures, warm)}
}

// restFor is how long nobody needs to try what failed so often with e.
func (v *Vendor) restFor(e *Error, failures int, warm bool) time.Duration {
	rest := v.upTo(firstRest, 0.2)
	switch {
	case !e.temporary() && !warm:
	case warm:
		rest = min(refreshRest<<min(failures-1, 10), longRest)
		rest += time.Duration(float64(rest) * restJitter * v.rand())
	default:
		rest = min(rest<<min(failures-1, 10), coldRest)
	}
	return max(rest, e.RetryAfter)
}

// wish is one load of a token: what is to be asked of whom, and what for.
type wish struct {
	client *registry.Client
	want   oauth.Request
	key    key
	good   func(*held) bool
	forced bool
	// old is the last token (nil: none); fallback says that it still serves.
	old      *held
	fallback bool
	// failed says that the last exchange for it failed.
	failed bool
}

// accepts reports whether t will do.
func (w *wish) accepts(v *Vendor, t *held) bool {
	return t != nil && v.now().Before(t.end()) && (w.good == nil || w.good(t))
}

// load fetches a token: from the fleet if another environment has it, else by an
// exchange for all of them.
func (v *Vendor) load(ctx context.Context, w *wish) (cache.Entry[*held], error) {
	visit := v.fleet.Visit(ctx)
	lease, done, err := v.lease(ctx, visit, w)
	if err != nil {
		return cache.Entry[*held]{}, err
	}
	if done != nil {
		return *done, nil
	}
	return v.exchange(ctx, visit, lease, w)
}

// later is the token that there is, to be looked after again when d is over.
func (v *Vendor) later(w *wish, d time.Duration) cache.Entry[*held] {
	return cache.Entry[*held]{Value: w.old, Refresh: v.now().Add(v.upTo(d, 0.5)), Expire: w.old.end()}
}

// granted is a token that an exchange brought for w.
func (v *Vendor) granted(token *oauth.Token, w *wish) cache.Entry[*held] {
	t := &held{Token: token, client: w.client.Name, version: w.client.Version, fingerprint: Fingerprint(token)}
	if w.forced {
		t.forced = v.now()
	}
	return v.entry(t)
}

// Fingerprint is the SHA-256 of the access token, in lower-case hex: how a token
// is named where it must not be shown.
func Fingerprint(t *oauth.Token) string {
	sum := sha256.Sum256([]byte(t.AccessToken().Expose()))
	return hex.EncodeToString(sum[:])
}
