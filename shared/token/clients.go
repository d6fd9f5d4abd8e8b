package token

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tokenvendor/shared/cache"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/tokensource"
)

const (
	// maxClientBytes bounds the memory for clients, and maxOtherBytes that for the ones with an
	// earlier credential, and for the ones that only dry runs have read. maxClients bounds the
	// names, unknown ones included.
	maxClientBytes = 32 << 20
	maxOtherBytes  = 4 << 20
	maxClients     = 50_000
	// maxFailing bounds what is kept of clients that fail.
	maxFailing = 10_000
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
	// inspectLife is how long a document that was read for a dry run is not read again.
	inspectLife = 10 * time.Second
	// loadBackoff is the longest one after any other failure.
	loadBackoff = 5 * time.Second

	// failingInterval is how soon a document is read again while its client fails.
	failingInterval = 10 * time.Second
	// previousLife is how long it is remembered what the version before is.
	previousLife = 5 * time.Minute

	// A document whose credential was refused is read again rereadBurst times at once, and
	// once more each rereadInterval, so that a correction is noticed at once and failing
	// callers are no load.
	rereadBurst    = 10
	rereadInterval = time.Second
	// joinTime is how long a request waits for a read that another one began.
	joinTime = time.Second
)

// clients caches documents. It is safe for concurrent use.
type clients struct {
	cfg   Config
	cache *cache.Cache[string, *registry.Client]
	// older are the clients with the credential of the version before, by name and version.
	older *cache.Cache[[2]string, *registry.Client]
	// inspected has the documents that only dry runs have read.
	inspected *cache.Cache[string, *registry.Client]
	// forget drops the tokens of a client that is gone.
	forget func(client string)

	mu       sync.Mutex
	rereads  map[string]*rereads // by client name; guarded by mu
	problems map[string]string   // of a newer version that is not usable, by client name; guarded by mu
}

// rereads limit how often a document is read again before it is due: because it is at fault,
// and because its client fails for another reason.
type rereads struct{ atFault, failing tokensource.RateLimiter }

func newClients(cfg Config, forget func(client string)) *clients {
	c := &clients{cfg: cfg, forget: forget, rereads: make(map[string]*rereads), problems: make(map[string]string)}
	documents := cache.Config[*registry.Client]{Size: (*registry.Client).Size, MaxSize: maxClientBytes, MaxEntries: maxClients, Go: cfg.Go, Now: cfg.clock, OnError: c.afterError}
	c.cache = cache.New[string](documents)
	documents.MaxSize = maxOtherBytes
	c.inspected = cache.New[string](documents)
	documents.OnError = func(err error, _ int, _ bool) cache.Reaction {
		switch {
		case errors.Is(err, registry.ErrNoPrevious):
			return cache.Reaction{Backoff: previousLife}
		case errors.Is(err, secret.ErrDenied):
			return cache.Reaction{Backoff: deniedBackoff}
		}
		return cache.Reaction{Backoff: loadBackoff}
	}
	c.older = cache.New[[2]string](documents)
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
		return c.load(ctx, name, last, registry.Have{MaxAge: clientRefresh})
	})
	if err != nil {
		return nil, documentFault(err).InBackoff(err, c.cfg.Now())
	}
	return client, nil
}

// newer reads a document again, and takes no reading of another environment, because its client
// fails; nil: there is no newer version. If the document is at fault, it is read again at once. calls means that the authorization
// server may be asked for its metadata again.
func (c *clients) newer(ctx context.Context, old *registry.Client, atFault, calls bool) *registry.Client {
	other := func(client *registry.Client) bool { return client.Version != old.Version }
	if client, _, ok := c.cache.Lookup(old.Name, other); ok {
		return client
	}
	load := func(ctx context.Context, last cache.Last[*registry.Client]) (cache.Entry[*registry.Client], error) {
		return c.load(ctx, old.Name, last, registry.Have{Refused: !calls})
	}
	if !atFault && !c.mayReread(old.Name, false) {
		return nil
	}
	var may func() bool
	if atFault {
		var stop context.CancelFunc
		ctx, may, stop = c.joinBriefly(ctx, old.Name)
		defer stop()
	}
	client, _, err := c.cache.GetIf(ctx, old.Name, other, may, load)
	if err != nil || !other(client) {
		return nil
	}
	return client
}

// joinBriefly returns whether a document that is at fault may be read again, and a context that
// ends after joinTime if another call reads it already.
func (c *clients) joinBriefly(ctx context.Context, name string) (_ context.Context, may func() bool, stop context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	var own atomic.Bool
	timer := time.AfterFunc(joinTime, func() {
		if !own.Load() {
			cancel()
		}
	})
	may = func() bool {
		own.Store(c.mayReread(name, true))
		return own.Load()
	}
	return ctx, may, func() {
		timer.Stop()
		cancel()
	}
}

// inspect returns a client from memory, or reads its document without calling the
// authorization server. What it reads has a cache of its own: get must not find a client
// whose token endpoint is not known.
func (c *clients) inspect(ctx context.Context, name string) (*registry.Client, error) {
	if client, ok := c.cache.Peek(name); ok {
		return client, nil
	}
	client, _, err := c.inspected.Get(ctx, name, nil, func(ctx context.Context, _ cache.Last[*registry.Client]) (cache.Entry[*registry.Client], error) {
		client, err := c.cfg.Clients.Inspect(ctx, name)
		return cache.Entry[*registry.Client]{Value: client, Expire: c.cfg.Now().Add(inspectLife)}, err
	})
	if err != nil {
		return nil, documentFault(err).InBackoff(err, c.cfg.Now())
	}
	return client, nil
}

// load loads a document as have says, but for what last says. Another environment's reading serves
// as long as an own one, unless it may be older than last: a replaced document must not come back.
func (c *clients) load(ctx context.Context, name string, last cache.Last[*registry.Client], have registry.Have) (cache.Entry[*registry.Client], error) {
	age := c.cfg.jitter(clientRefresh, 0.8)
	have.Client, have.Serves, have.MaxAge = last.Value, last.Serves, min(have.MaxAge, age)
	if last.Value != nil { // read four fifths of clientRefresh before it was due, or earlier
		have.MaxAge = min(have.MaxAge, c.cfg.Now().Sub(last.Refresh)+clientRefresh*4/5)
	}
	var client *registry.Client
	// Take the time before the read: the process may be frozen while the read is in flight.
	read, requestID := c.cfg.Now(), ""
	err := fault.Catch(c.cfg.Log, &requestID, func() error {
		loaded, at, err := c.cfg.Clients.Load(ctx, name, have)
		if client = loaded; !at.IsZero() {
			read = at
		}
		return err
	})
	if errors.Is(err, secret.ErrNotFound) {
		c.forget(name)
	}
	if err != nil && last.Value == nil {
		return c.loadOld(ctx, name, err)
	}
	if err != nil {
		c.note(name, err)
		return cache.Entry[*registry.Client]{}, err
	}
	c.mu.Lock()
	delete(c.problems, name)
	c.mu.Unlock()
	if client != last.Value {
		for _, note := range client.Notes {
			c.cfg.Log.Warn("part of a document not used", "client", name, "version", client.Version, "note", note)
		}
	}
	refresh := read.Add(age)
	if have.Refused && client == last.Value {
		// The server's metadata was not read, so the document is due when it was before.
		refresh = last.Refresh
	}
	return cache.Entry[*registry.Client]{Value: client, Refresh: refresh, Expire: read.Add(clientLife)}, nil
}

// loadOld returns the client of the version before, if failure says that the current version is
// no valid document, for as long as an environment that had read it before would use it.
func (c *clients) loadOld(ctx context.Context, name string, failure error) (cache.Entry[*registry.Client], error) {
	now := c.cfg.Now()
	var document *registry.DocumentError
	if !errors.As(failure, &document) || document.Created.IsZero() || now.Sub(document.Created) >= clientLife {
		return cache.Entry[*registry.Client]{}, failure
	}
	client, err := c.cfg.Clients.LoadOld(ctx, name)
	if err != nil {
		return cache.Entry[*registry.Client]{}, failure
	}
	c.note(name, failure)
	return cache.Entry[*registry.Client]{Value: client, Refresh: now.Add(brokenBackoff), Expire: document.Created.Add(clientLife)}, nil
}

// note tells operators of a document that worked and cannot be used any more: they must repair
// it before the old document's time is over.
func (c *clients) note(name string, err error) {
	var document *registry.DocumentError
	version := ""
	switch {
	case errors.As(err, &document):
		version = document.Version
	case !errors.Is(err, secret.ErrDenied) && !errors.Is(err, secret.ErrNotFound):
		return
	}
	c.cfg.Count(CountDocument)
	problem := documentFault(err).Detail
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.problems[name] != problem {
		c.cfg.Log.Warn("document not usable", "client", name, "version", version, "problem", problem)
	}
	if _, known := c.problems[name]; !known {
		cache.MakeRoom(c.problems, maxFailing, nil)
	}
	c.problems[name] = problem
}

// explain adds to the error of a client that fails what is wrong with a newer version of its
// document.
func (c *clients) explain(name string, failure *fault.Error) *fault.Error {
	c.mu.Lock()
	problem := c.problems[name]
	c.mu.Unlock()
	if problem == "" {
		return failure
	}
	own := *failure
	text := "; a newer version of the client's document is not usable: " + problem
	own.Description, own.Detail = oauth.Printable(own.Description+text), cmp.Or(own.Detail, own.Description)+text
	return &own
}

// mayReread reports whether a document may be read again now.
func (c *clients) mayReread(name string, atFault bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.rereads[name]
	if r == nil {
		cache.MakeRoom(c.rereads, maxFailing, nil)
		r = &rereads{}
		c.rereads[name] = r
	}
	limiter, burst, interval := &r.failing, 1, failingInterval
	if atFault {
		limiter, burst, interval = &r.atFault, rereadBurst, rereadInterval
	}
	_, ok := limiter.Reserve(c.cfg.Now(), burst, interval, 0)
	return ok
}

// previous returns the client with the credential of the version before; see
// [registry.Registry.LoadPrevious].
func (c *clients) previous(ctx context.Context, current *registry.Client) (*registry.Client, error) {
	client, _, err := c.older.Get(ctx, [2]string{current.Name, current.Version}, nil, func(ctx context.Context, _ cache.Last[*registry.Client]) (cache.Entry[*registry.Client], error) {
		previous, err := c.cfg.Clients.LoadPrevious(ctx, current)
		return cache.Entry[*registry.Client]{Value: previous, Expire: c.cfg.Now().Add(previousLife)}, err
	})
	return client, err
}

// afterError says how long an old document is used, and when it is read again.
func (c *clients) afterError(err error, failures int, _ bool) cache.Reaction {
	var document *registry.DocumentError
	switch {
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
		return fault.Refusal(fault.Denied, "no such client: "+err.Error())
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
