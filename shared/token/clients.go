package token

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"tokenvendor/shared/cache"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/tokensource"
)

const (
	// maxClients bounds the documents in memory.
	maxClients = 1000
	// clientRefresh is when a document is read again, at the latest; jitter takes up to a
	// fifth off.
	clientRefresh = 5 * time.Minute
	// clientLife is how long a document is used while Secrets Manager is down.
	clientLife = 24 * time.Hour
	// deniedLife is how long it is used after access was denied: longer than a change of
	// IAM takes to arrive everywhere, and a mistake to be noticed. But a disabled key is
	// an operator's way to stop the vendor.
	deniedLife = 15 * time.Minute
	// deniedBackoff and brokenBackoff are how long the same answer would come again.
	deniedBackoff = time.Minute
	brokenBackoff = time.Minute
	// unknownBackoff is how long an unknown client is not looked for, after it was looked
	// for unknownTries times. A person who adds a client has often asked for it just
	// before, and asks again right after.
	unknownBackoff = 10 * time.Second
	unknownTries   = 3
	// loadBackoff is the longest one after any other failure.
	loadBackoff = 5 * time.Second

	// A document whose credential was refused is read again rereadBurst times at once, and
	// once more each rereadInterval, so that a correction is noticed at once and failing
	// callers are no load.
	rereadBurst    = 10
	rereadInterval = time.Second
)

// errNotAgain means that the document was read again a moment ago.
var errNotAgain = errors.New("the document was read again a moment ago")

// clients caches documents. It is safe for concurrent use.
type clients struct {
	cfg   Config
	cache *cache.Cache[string, *registry.Client]
	// forget drops the tokens of a client that is gone.
	forget func(client string)

	mu      sync.Mutex
	rereads map[string]*tokensource.RateLimiter // by client name; guarded by mu
}

func newClients(cfg Config, forget func(client string)) *clients {
	c := &clients{cfg: cfg, forget: forget}
	c.cache = cache.New[string](cache.Config[*registry.Client]{MaxEntries: maxClients, Now: cfg.Now, OnError: c.afterError})
	return c
}

// get returns a client. The error is a [*fault.Error].
func (c *clients) get(ctx context.Context, name string) (*registry.Client, error) {
	if client, _, ok := c.cache.Lookup(name, nil); ok {
		return client, nil
	}
	return c.miss(ctx, name)
}

// miss is get for a document that is not simply there.
func (c *clients) miss(ctx context.Context, name string) (*registry.Client, error) {
	client, _, err := c.cache.Get(ctx, name, nil, func(ctx context.Context, last cache.Last[*registry.Client]) (cache.Entry[*registry.Client], error) {
		return c.load(ctx, name, last, false)
	})
	if err != nil {
		return nil, documentFault(err).InBackoff(err, c.cfg.Now())
	}
	return client, nil
}

// newer reads a document again after an exchange that failed by its fault; nil: there is no
// newer version. refused means that the credential was.
func (c *clients) newer(ctx context.Context, old *registry.Client, refused bool) *registry.Client {
	other := func(client *registry.Client) bool { return client.Version != old.Version }
	client, _, err := c.cache.Get(ctx, old.Name, other, func(ctx context.Context, last cache.Last[*registry.Client]) (cache.Entry[*registry.Client], error) {
		if !c.mayReread(old.Name) {
			return cache.Entry[*registry.Client]{}, errNotAgain
		}
		return c.load(ctx, old.Name, last, refused)
	})
	if err != nil || client.Version == old.Version {
		return nil
	}
	return client
}

// inspect returns a client from memory, or reads its document without calling the
// authorization server.
func (c *clients) inspect(ctx context.Context, name string) (*registry.Client, error) {
	if client, ok := c.cache.Peek(name); ok {
		return client, nil
	}
	client, err := c.cfg.Clients.Inspect(ctx, name)
	if err != nil {
		return nil, documentFault(err)
	}
	return client, nil
}

func (c *clients) load(ctx context.Context, name string, last cache.Last[*registry.Client], refused bool) (cache.Entry[*registry.Client], error) {
	client, err := c.cfg.Clients.Load(ctx, name, registry.Have{Client: last.Value, Serves: last.Serves, Refused: refused})
	if errors.Is(err, secret.ErrNotFound) {
		c.forget(name)
	}
	if err != nil {
		var document *registry.DocumentError
		if last.Serves && (errors.As(err, &document) || errors.Is(err, secret.ErrDenied) || errors.Is(err, secret.ErrNotFound)) {
			// An operator must repair it before the old document's time is over.
			c.cfg.Count(CountDocument)
		}
		return cache.Entry[*registry.Client]{}, err
	}
	now := c.cfg.Now()
	refresh := now.Add(c.cfg.jitter(clientRefresh, 0.8))
	if refused && client == last.Value {
		// The server's metadata was not read, so the document is due when it was before.
		refresh = last.Refresh
	}
	return cache.Entry[*registry.Client]{Value: client, Refresh: refresh, Expire: now.Add(clientLife)}, nil
}

// mayReread reports whether a document may be read again now because it was at fault.
func (c *clients) mayReread(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.rereads[name]
	if l == nil {
		if c.rereads == nil || len(c.rereads) >= maxClients {
			c.rereads = make(map[string]*tokensource.RateLimiter)
		}
		l = &tokensource.RateLimiter{}
		c.rereads[name] = l
	}
	_, ok := l.Reserve(c.cfg.Now(), rereadBurst, rereadInterval, 0)
	return ok
}

// afterError says how long an old document is used, and when it is read again.
func (c *clients) afterError(err error, failures int, _ bool) cache.Reaction {
	var document *registry.DocumentError
	switch {
	case errors.Is(err, errNotAgain):
		return cache.Reaction{}
	case errors.Is(err, secret.ErrNotFound) && failures < unknownTries:
		return cache.Reaction{Keep: -1}
	case errors.Is(err, secret.ErrNotFound):
		return cache.Reaction{Backoff: unknownBackoff, Keep: -1}
	case errors.Is(err, secret.ErrDenied):
		return cache.Reaction{Backoff: deniedBackoff, Postpone: deniedBackoff, Keep: deniedLife}
	case errors.As(err, &document):
		// If there is no older version, a person is just writing the first one.
		return cache.Reaction{Postpone: brokenBackoff}
	}
	return cache.Reaction{Backoff: c.cfg.jitter(loadBackoff, 0.2), Postpone: c.cfg.jitter(clientRefresh, 0.8)}
}

// documentFault returns an error of the registry as callers get it.
func documentFault(err error) *fault.Error {
	var document *registry.DocumentError
	switch {
	case errors.As(err, &document):
		problems := strings.Join(document.Problems, "; ")
		return &fault.Error{Kind: fault.Misconfigured, Description: oauth.Printable("the client's document is not usable: " + problems), Detail: problems}
	case errors.Is(err, secret.ErrNotFound):
		return fault.Refusal(fault.Denied, "no such client")
	case errors.Is(err, secret.ErrDenied):
		return &fault.Error{Kind: fault.Misconfigured, Description: "the client's document cannot be read", Detail: err.Error()}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		e := fault.TimedOut()
		e.Detail = "reading the client's document took too long: " + err.Error()
		return e
	case errors.Is(err, secret.ErrUnavailable), errors.Is(err, oauth.ErrDiscovery):
		return &fault.Error{Kind: fault.Unavailable, Description: "the client's document cannot be read now", Detail: err.Error(), RetryAfter: time.Second}
	}
	return fault.From(err)
}
