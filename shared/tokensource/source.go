// Package tokensource keeps one token for each client and ask: in the memory of the
// environment, in the table that the fleet shares, or by an exchange at the client's
// authorization server.
//
// It never sends a credential again that was refused, calls no server more often than that
// bears, and hands out no token past its end. It decides nothing about callers.
package tokensource

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tokenvendor/shared/cache"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
)

const (
	// maxTokenBytes and maxTokens bound the memory for tokens: those of 10 000 clients, at 2 KB
	// and more each. With the clients and what is known of them, half of a function's 256 MB
	// remains for Go's collector. maxClientTokens is how many of them one client may have, so
	// that callers who vary a parameter do not drive out the other clients' tokens.
	maxTokenBytes   = 48 << 20
	maxTokens       = 50_000
	maxClientTokens = 64
)

// Outcome says where a token came from.
type Outcome string

// The outcomes.
const (
	Hit       Outcome = "hit"       // it was in memory
	Refreshed Outcome = "refreshed" // this request replaced one before its end
	Exchanged Outcome = "exchanged" // this request made the exchange
	Joined    Outcome = "joined"    // another request's exchange was under way
	Shared    Outcome = "shared"    // another environment had it
	Stale     Outcome = "stale"     // it should have been replaced, but that failed
)

// Config configures a [Source]. All members but Fleet, Environments, Rates, NoteUse and Go are required.
type Config struct {
	Exchanger *oauth.Exchanger
	// Previous returns a client with the credential of the version before; its errors mean
	// that there is none; see [registry.Registry.LoadPrevious].
	Previous func(context.Context, *registry.Client) (*registry.Client, error)
	// Fleet is what this environment shares with the others; nil: nothing.
	Fleet *fleet.Fleet
	// Environments is how many there may be at once, which share the budget of a server
	// while the table cannot be used; 0: that is not known.
	Environments int
	// Rates say how many exchanges per second servers bear, whatever documents say; nil: nothing.
	// See [registry.ParseRates].
	Rates map[string]float64
	// NoteUse notes in Fleet on which day a caller got a token of a client last.
	NoteUse bool
	// Newer reports whether there is a newer version of a client's document than that one.
	Newer func(context.Context, *registry.Client) bool
	// Shadow is told the result of a second credential.
	Shadow func(ShadowResult)
	// Count is told of what operators should see, by the names of the Count constants, and
	// Log why.
	Count func(name string)
	Log   *slog.Logger
	// Go is that of [cache.Config]; nil is allowed.
	Go func(load func())
	// Now is the clock, without a monotonic reading: that stops while a function is frozen.
	Now func() time.Time
	// Clock is Now with its monotonic reading, for the cache.
	Clock func() time.Time
	// Rand returns a number in [0, 1) for jitter.
	Rand func() float64
}

// Source returns tokens. It is safe for concurrent use.
type Source struct {
	runtime
	cache      *cache.Cache[key, *Token]
	rows       *rows
	candidates *candidates
	shadow     *shadow
	usage      *usage
	log        *slog.Logger
}

// New returns a Source with an empty cache.
func New(cfg Config) *Source {
	rt := runtime{now: cfg.Now, rand: cfg.Rand, count: cfg.Count}
	c := &candidates{runtime: rt, exchange: newExchanger(rt, cfg), previous: cfg.Previous, log: cfg.Log}
	s := &Source{
		runtime:    rt,
		rows:       &rows{runtime: rt, fleet: cfg.Fleet},
		candidates: c,
		shadow:     &shadow{runtime: rt, fleet: cfg.Fleet, exchange: c.exchange, report: cfg.Shadow},
		usage:      &usage{runtime: rt, states: c.exchange.states},
		log:        cfg.Log,
	}
	if cfg.NoteUse {
		s.usage.fleet = cfg.Fleet
	}
	s.cache = cache.New[key](cache.Config[*Token]{
		Size: (*Token).Size, MaxSize: maxTokenBytes, MaxEntries: maxTokens,
		Group: clientOf, MaxGroup: maxClientTokens,
		Go: cfg.Go, Now: cfg.Clock, OnError: s.rows.afterError,
	})
	return s
}

// clientOf returns the client of a cached token or, if there is none, of the failure to fetch it.
func clientOf(t *Token, err error) string {
	if t != nil {
		return t.client
	}
	return failureOf(err).client
}

// Get returns a token for r. It returns by the deadline of ctx. The error is a
// [*fault.Error]; one of kind Misconfigured is about the client's document, so that a newer
// version of the document may do better.
func (s *Source) Get(ctx context.Context, r Request) (*Token, Outcome, error) {
	for range 2 {
		t, outcome, err := s.get(ctx, r)
		if err == nil && !r.Unused {
			s.usage.note(ctx, r.Client.Name, t)
		}
		if err != nil || !t.Ended(s.now()) {
			return t, outcome, err
		}
		// The shadow's exchange or the note took longer than the rest of the token's life.
	}
	return nil, "", fault.From(cache.ErrExpired)
}

func (s *Source) get(ctx context.Context, r Request) (*Token, Outcome, error) {
	k, accept := r.key(), r.acceptor(s.now)
	t, outcome, ok := s.cache.Lookup(k, accept)
	if !ok || t.credential != r.Client.Credential && !r.Client.SingleToken && s.renewed(r.Client) {
		return s.miss(ctx, r, k, accept)
	}
	return t, s.outcomeOf(outcome, t, r.Client), nil
}

// miss is get for a token that is not simply there.
func (s *Source) miss(ctx context.Context, r Request, k key, accept func(*Token) bool) (*Token, Outcome, error) {
	var fetched, kept atomic.Bool
	load := func(ctx context.Context, last cache.Last[*Token]) (cache.Entry[*Token], error) {
		var e cache.Entry[*Token]
		err := fault.Catch(s.log, &r.CorrelationID, func() (err error) {
			e, err = s.load(ctx, &load{
				Request: r, key: k, accept: accept, cached: last.Value, usable: last.Serves, setBack: last.SetBack, failed: last.Failures > 0,
			})
			return err
		})
		kept.Store(err == nil && e.Value == last.Value)
		fetched.Store(err == nil && e.Value != last.Value && !e.Value.shared)
		return e, err
	}
	t, outcome, err := s.cache.Get(ctx, k, accept, load)
	if err != nil && failureOf(err).caller != "" && failureOf(err).caller != r.Caller {
		t, outcome, err = s.cache.Get(ctx, k, accept, load) // that was another caller's load
	}
	if err != nil && otherVersion(failureOf(err).version, r.Client) {
		// A key may have a token, too, that does not serve this request: its caller has rejected it.
		s.cache.Expedite(r.Client.Name, func(_ *Token, err error) bool { return otherVersion(failureOf(err).version, r.Client) })
		t, outcome, err = s.cache.Get(ctx, k, accept, load)
	}
	if err != nil {
		return nil, "", fault.From(err).InBackoff(err, s.now())
	}
	if outcome == cache.Refreshed && fetched.Load() {
		s.shadow.try(ctx, &r)
	}
	if kept.Load() {
		outcome = cache.Hit
	}
	return t, s.outcomeOf(outcome, t, r.Client), nil
}

// renewed makes the tokens of a client due to be replaced if the client has a new version that
// was not tried yet. It returns whether it did; it does so once for each version.
func (s *Source) renewed(client *registry.Client) bool {
	if s.candidates.tested(client) {
		return false
	}
	if !s.candidates.exchange.states.client(client.Name).begin(client.Version) {
		return false
	}
	s.cache.Expedite(client.Name, func(t *Token, _ error) bool { return t != nil })
	return true
}

// load fetches a token: from the table if another environment has it, else by an exchange
// for all environments.
func (s *Source) load(ctx context.Context, l *load) (cache.Entry[*Token], error) {
	if l.usable && l.Client.SingleToken {
		return s.rows.entry(l.cached.keptToItsEnd()), nil // it was cached before the document said single_token
	}
	l.force(l.cached, s.now())
	session := s.rows.fleet.Session(ctx)
	lease, found, err := s.rows.acquire(ctx, session, l, s.candidates.tested(l.Client))
	switch {
	case err != nil:
		return cache.Entry[*Token]{}, err
	case found != nil:
		if found.Value.ObtainedBy(l.Client) {
			s.candidates.learn(found.Value.Issued(), l)
		}
		return *found, nil
	}
	l.begun = s.now()
	got := s.candidates.fetch(ctx, session, lease, l)
	var all sync.WaitGroup
	switch {
	case got.end == nil:
	case session == nil:
		got.end(ctx) // it calls no table, so that nothing waits
	default:
		all.Go(func() { // no caller of this goroutine recovers
			_ = fault.Catch(s.log, &l.CorrelationID, func() error { got.end(ctx); return nil })
		})
	}
	defer all.Wait()
	return s.rows.finish(ctx, lease, l, got)
}

// Publish makes sure that the other environments can have a token that Get returned for r.
func (s *Source) Publish(ctx context.Context, r Request, t *Token) {
	s.rows.publish(ctx, r.key(), r.Client, t)
}

// Forget drops the tokens of a client from the memory of this environment.
func (s *Source) Forget(client string) {
	s.cache.Remove(client)
}

// LockedOut returns the error with which Get would refuse to send the client's credential,
// as far as this environment knows; nil: there is none, or a cached token or the previous
// version stands in. It calls no authorization server.
func (s *Source) LockedOut(ctx context.Context, r Request) error {
	if _, _, ok := s.cache.Lookup(r.key(), nil); ok {
		return nil
	}
	return s.candidates.lockedOut(ctx, r.Client)
}

// outcomeOf returns the outcome of a token that the cache handed out. A token of another
// credential is stale until the client's own one has obtained a token; a single token, which is
// no reason to try that one, only if it was refused.
func (s *Source) outcomeOf(o cache.Outcome, t *Token, client *registry.Client) Outcome {
	untried := client.SingleToken && !s.candidates.tested(client)
	if t.credential != client.Credential && !s.candidates.proven(client) && !untried {
		if s.candidates.tested(client) {
			s.count(CountCandidate)
		}
		return Stale
	}
	switch {
	case o == cache.Hit:
		return Hit
	case o == cache.Stale:
		return Stale
	case t.shared:
		return Shared
	case o == cache.Joined:
		return Joined
	case o == cache.Refreshed:
		return Refreshed
	}
	return Exchanged
}
