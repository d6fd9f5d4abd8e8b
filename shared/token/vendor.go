// Package token is the core: [Vendor.Vend] answers a request for an access
// token of a named client, out of memory or by an exchange at the client's
// authorization server.
//
// It refuses what the client's document doesn't allow, never sends a credential
// again that was refused, and never gives out a token past its life. It knows
// nothing of HTTP events or AWS; it imports registry, oauth and cache.
package token

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"tokenvendor/shared/cache"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
)

const (
	// maxTokenBytes bounds the memory for tokens.
	maxTokenBytes = 32 << 20
	// maxClients bounds the documents in memory.
	maxClients = 1000
	// clientLife is how long a document is used before it is read again.
	clientLife = 5 * time.Minute
)

// Clients loads clients by name; the registry does. Its errors are those of
// [registry.Registry.Load].
type Clients interface {
	Load(ctx context.Context, name string) (*registry.Client, error)
}

// Config configures a [Vendor].
type Config struct {
	// Clients is required.
	Clients Clients
	// Exchanger is required.
	Exchanger *oauth.Exchanger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Vendor vends tokens. It is safe for concurrent use.
type Vendor struct {
	source    Clients
	exchanger *oauth.Exchanger
	now       func() time.Time
	clients   *cache.Cache[string, *registry.Client]
	tokens    *cache.Cache[key, *oauth.Token]
	logons    logons
}

// New returns a Vendor with empty caches.
func New(cfg Config) *Vendor {
	now := cfg.Now
	if now == nil {
		now = time.Now
	}
	// The monotonic clock stops while a function is frozen.
	wall := func() time.Time { return now().Round(0) }
	return &Vendor{
		source:    cfg.Clients,
		exchanger: cfg.Exchanger,
		now:       wall,
		clients:   cache.New[string](cache.Config[*registry.Client]{MaxSize: maxClients, Now: wall}),
		tokens:    cache.New[key](cache.Config[*oauth.Token]{Size: (*oauth.Token).Size, MaxSize: maxTokenBytes, Now: wall}),
	}
}

// Grant is a token with what is worth saying about it.
type Grant struct {
	Token *oauth.Token
	// Outcome says where the token came from.
	Outcome cache.Outcome
	// CertificateBound says that only the holder of the client's certificate can
	// use the token, and that the document did not call that fine.
	CertificateBound bool
}

// Vend answers r. It returns by the deadline of ctx. The error is an [*Error].
//
// When the client's document turns out to be at fault, it is read again once,
// and the request is tried again only if a newer version is there: a failed
// logon counts at the authorization server.
func (v *Vendor) Vend(ctx context.Context, r Request) (Grant, error) {
	client, err := v.client(ctx, r.Client, nil)
	if err != nil {
		return Grant{}, err
	}
	grant, err := v.vend(ctx, client, r)
	var failure *Error
	if !errors.As(err, &failure) || !failure.reread {
		return grant, err
	}
	old := client.Version
	client, err = v.client(ctx, r.Client, func(c *registry.Client) bool { return c.Version != old })
	if err != nil || client.Version == old {
		return Grant{}, failure
	}
	return v.vend(ctx, client, r)
}

// client returns the client, from memory if good says so (nil: any is good).
func (v *Vendor) client(ctx context.Context, name string, good func(*registry.Client) bool) (*registry.Client, error) {
	client, _, err := v.clients.Get(ctx, name, good, func(ctx context.Context) (*registry.Client, time.Time, error) {
		client, err := v.source.Load(ctx, name)
		return client, v.now().Add(clientLife), err
	})
	if err != nil {
		return nil, documentFailure(err)
	}
	return client, nil
}

func (v *Vendor) vend(ctx context.Context, client *registry.Client, r Request) (Grant, error) {
	want, err := r.resolve(client)
	if err != nil {
		return Grant{}, err
	}
	token, outcome, err := v.tokens.Get(ctx, keyOf(client, want), v.acceptable(r), func(ctx context.Context) (*oauth.Token, time.Time, error) {
		want.CorrelationID = r.RequestID
		token, err := v.exchange(ctx, client, want)
		if err != nil {
			return nil, time.Time{}, err
		}
		return token, keepUntil(token), nil
	})
	if err != nil {
		return Grant{}, AsError(err)
	}
	bound := token.CertificateBound() && client.CertificateBound != registry.BoundAllow
	if bound && client.CertificateBound == registry.BoundRefuse {
		return Grant{}, &Error{Kind: Misconfigured, Description: "the token is bound to the vendor's certificate, and the client's document refuses that"}
	}
	return Grant{Token: token, Outcome: outcome, CertificateBound: bound}, nil
}

// exchange makes one exchange, unless the client's credential is known to be
// refused.
func (v *Vendor) exchange(ctx context.Context, client *registry.Client, want oauth.Request) (*oauth.Token, error) {
	logon, leave, err := v.logons.enter(ctx, client.Name)
	if err != nil {
		return nil, err
	}
	defer leave()
	if failure := logon.refused(client.Version, v.now()); failure != nil {
		return nil, failure
	}
	token, err := v.exchanger.Exchange(ctx, client.OAuth, want)
	var failure *oauth.Error
	if errors.As(err, &failure) {
		e := exchangeFailure(failure)
		if failure.FailedLogon() {
			logon.refuse(client.Version, e, v.now())
		}
		return nil, e
	}
	return token, err
}

// acceptable says whether a token in memory will do for r: enough life is left
// (or it is so new that another would live no longer), and it isn't the one that
// a resource server refused.
func (v *Vendor) acceptable(r Request) func(*oauth.Token) bool {
	if r.MinTTL == 0 && r.Rejected == "" {
		return nil
	}
	return func(t *oauth.Token) bool {
		now, life := v.now(), t.Expiry().Sub(t.Issued())
		fresh := now.Sub(t.Issued()) < life/10
		if r.Rejected != "" && Fingerprint(t) == r.Rejected {
			return false
		}
		return fresh || t.Expiry().Sub(now) >= r.MinTTL
	}
}

// keepUntil is when a token is given out no more: a caller needs time to use it.
func keepUntil(t *oauth.Token) time.Time {
	if t.Expiry().IsZero() {
		return time.Time{}
	}
	life := t.Expiry().Sub(t.Issued())
	return t.Expiry().Add(-min(30*time.Second, life/20))
}

// Fingerprint is the SHA-256 of the access token, in lower-case hex: how a token
// is named where it must not be shown.
func Fingerprint(t *oauth.Token) string {
	sum := sha256.Sum256([]byte(t.AccessToken().Expose()))
	return hex.EncodeToString(sum[:])
}
