package tokensource

import (
	"crypto/sha256"
	"encoding/base64"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/registry"
)

// forcedInterval is how often callers may have a token replaced by saying that it was
// rejected, or by asking for all of its life.
const forcedInterval = 30 * time.Second

// Request asks for a client's token.
type Request struct {
	// Client is required.
	Client *registry.Client
	// Ask is what the authorization server is asked for, the document's defaults
	// included. Its lists are sorted and without duplicates.
	Ask ask.Ask
	// MinTTL is the life that the token should have left.
	MinTTL time.Duration
	// Rejected is the fingerprint of a token that a resource server refused; empty: none.
	Rejected string
	// Caller is the principal that asks. Each has its share of the new asks of a client, which
	// also bounds how many tokens it may have replaced before they are due.
	Caller string
	// Patient means that no caller waits, as for an order: the request may wait longer for
	// the permission to make an exchange.
	Patient bool
	// Unused means that no caller uses the token: it is fetched at a start, or by a probe.
	Unused bool
	// CorrelationID names the request in the authorization server's log; empty: none.
	CorrelationID string
}

// key identifies a token in the cache and in the table.
type key [sha256.Size]byte

// key hashes everything that decides whether a token serves: the client's terms and the ask,
// but not the credential, because a token that another version of it obtained serves as well.
func (r *Request) key() key {
	const usual = 512 // bytes, so that the buffer need not grow
	b := ask.AppendField(make([]byte, 0, usual), r.Client.Name)
	b = ask.AppendField(b, r.Client.Terms)
	return sha256.Sum256(r.Ask.AppendKey(b))
}

// acceptor returns whether a cached token will do; nil: any will. A token does if enough
// life is left, or if it is so new that another would hardly live longer; and if it is not
// the one that a resource server refused, unless it was fetched for such a refusal just now.
func (r *Request) acceptor(now func() time.Time) func(*Token) bool {
	minTTL, rejected := r.MinTTL, r.Rejected
	if r.Client.SingleToken {
		minTTL = 0 // another token would end what other callers hold
	}
	if minTTL == 0 && rejected == "" {
		return nil
	}
	return func(t *Token) bool {
		now := now()
		if rejected != "" && now.Sub(t.forced) >= forcedInterval && t.fingerprint == rejected {
			return false
		}
		young := t.Life() / 10
		if minTTL <= t.Life() {
			// Another token would do, but not one a second.
			young = min(young, forcedInterval)
		}
		return now.Sub(t.Issued()) < young || t.Expiry().Sub(now) >= minTTL
	}
}

// load is one load of a token into the cache.
type load struct {
	Request
	key key
	// begun is when the load began to wait for the permission to make an exchange. The wait
	// for another environment that fetches the same token is before: if that environment was
	// killed, its permission ends a moment after its lease of the token.
	begun time.Time
	// accept is [Request.acceptor].
	accept func(*Token) bool
	// cached is the last token (nil: none); usable means that it can still be handed out.
	cached *Token
	usable bool
	// setBack means that the clock was set back since cached was loaded: its end may be too late.
	setBack bool
	// failed means that the last exchange for it failed.
	failed bool
	// known means that there was a token for the same key; forced, that it would still do if the
	// caller had not rejected it, or asked for a longer life.
	known, forced bool
	// chosen means that a caller chose parameters, so that the server's answer may be about
	// these and not about the credential; untried, that they never obtained a token.
	chosen, untried bool
	// doubted means that they obtained a token before, but that the last exchange failed.
	doubted bool
}

// id names the ask in what is known of the client.
func (l *load) id() string { return base64.RawURLEncoding.EncodeToString(l.key[:8]) }

// patience is how long the request waits for the permission to make an exchange.
func (l *load) patience() time.Duration {
	if l.Patient {
		return patientTime
	}
	return permitTime
}

// wanes reports whether the cached token is due to be replaced, whatever obtained it, or is
// gone.
func (l *load) wanes(now time.Time) bool { return !l.usable || !now.Before(l.cached.RefreshPoint()) }

// force notes the token that there is for the key; nil: there is none. A caller does not force a
// load that is due because the clock was set back.
func (l *load) force(t *Token, now time.Time) {
	l.known = l.known || t != nil
	l.forced = l.forced || t != nil && now.Before(t.RefreshPoint()) && !l.setBack && !l.accepts(t, now)
}

// slots returns those in which the exchange may be made. Tokens that callers have replaced before
// they are due use one, and new asks the other, so that neither delays the other. proven is about
// the credential.
func (l *load) slots(proven bool) slotChoice {
	switch {
	case l.untried || !proven:
		return firstSlot
	case l.forced:
		return secondSlot
	}
	return anySlot
}

// foreign reports whether a usable token is cached that another credential obtained.
func (l *load) foreign(c *registry.Client) bool { return l.usable && !l.cached.ObtainedBy(c) }

// cachedUntil returns when the cached token is due to be replaced, at the latest at limit.
func (l *load) cachedUntil(limit time.Time) time.Time {
	if until := l.cached.RefreshPoint(); until.Before(limit) {
		return until
	}
	return limit
}

// attributes describe the cached token for a log.
func (l *load) attributes() []any {
	if l.cached == nil {
		return nil
	}
	return []any{"cachedVersion", l.cached.version, "cachedTokenEnds", l.cached.End().UTC().Format(time.RFC3339)}
}

// accepts reports whether t will do.
func (l *load) accepts(t *Token, now time.Time) bool {
	if t != nil && l.setBack && !t.single && t.fingerprint == l.cached.fingerprint && t.Issued().Equal(l.cached.Issued()) {
		return false
	}
	return t != nil && now.Before(t.End()) && (l.accept == nil || l.accept(t))
}
