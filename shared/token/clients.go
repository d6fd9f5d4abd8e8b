package token

import (
	"context"
	"errors"
	"time"

	"tokenvendor/shared/cache"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
)

const (
	// maxClients bounds the documents in memory.
	maxClients = 1000
	// clientRefresh is when a document is read again, at the latest; jitter takes
	// up to a fifth off.
	clientRefresh = 5 * time.Minute
	// clientLife is how long a document serves while Secrets Manager is down.
	clientLife = 24 * time.Hour
	// deniedLife is how long it serves after access was denied: longer than IAM
	// takes to agree with itself and slips take to be noticed; but a disabled key
	// is an operator's way to stop us.
	deniedLife = 15 * time.Minute
	// deniedRest and brokenRest are how long the same answer would come again.
	deniedRest = time.Minute
	brokenRest = time.Minute
	// unknownRest is how long an unknown client is not looked for, once it was in
	// vain unknownTries times: whoever adds a client has often asked for it just
	// before, and will again right after.
	unknownRest  = 10 * time.Second
	unknownTries = 3

	// rereads of a document whose credential was refused: so many at once, and one
	// an interval, so that a correction counts at once and a fleet of failing
	// callers is no load.
	rereads         = 10
	rereadsInterval = time.Second
)

// client returns the client, from memory if good says so (nil: any is good). refused says
// that the credential of the one in memory was.
func (v *Vendor) client(ctx context.Context, name string, good func(*registry.Client) bool, refused bool) (*registry.Client, error) {
	client, _, err := v.clients.Get(ctx, name, good, func(ctx context.Context, last cache.Last[*registry.Client]) (cache.Entry[*registry.Client], error) {
		if good != nil && !v.logons.mayReread(name, v.now()) {
			return cache.Entry[*registry.Client]{}, errNotAgain
		}
		client, err := v.source.Load(ctx, name, registry.Have{Client: last.Value, Serves: last.Serves, Refused: refused})
		if errors.Is(err, secret.ErrNotFound) {
			v.tokens.Remove(func(_ key, t *held) bool { return t.client == name })
		}
		if err != nil {
			v.reportDocument(err, last.Serves)
			return cache.Entry[*registry.Client]{}, err
		}
		now := v.now()
		refresh := now.Add(v.upTo(clientRefresh, 0.8))
		if refused && client == last.Value {
			// Whether the authorization server has moved was not asked.
			refresh = last.Refresh
		}
		return cache.Entry[*registry.Client]{Value: client, Refresh: refresh, Expire: now.Add(clientLife)}, nil
	})
	if err != nil {
		return nil, v.atRest(documentFailure(err), err)
	}
	return client, nil
}

// reportDocument counts what an operator must repair before the old document's
// time is over.
func (v *Vendor) reportDocument(err error, serving bool) {
	var document *registry.DocumentError
	if serving && (errors.As(err, &document) || errors.Is(err, secret.ErrDenied) || errors.Is(err, secret.ErrNotFound)) {
		v.count(CountDocument)
	}
}

// afterClientError says how long an old document serves, and when it is read
// again.
func (v *Vendor) afterClientError(err error, failures int, _ bool) cache.Reaction {
	var document *registry.DocumentError
	switch {
	case errors.Is(err, errNotAgain):
		return cache.Reaction{}
	case errors.Is(err, secret.ErrNotFound) && failures < unknownTries:
		return cache.Reaction{Keep: -1}
	case errors.Is(err, secret.ErrNotFound):
		return cache.Reaction{Rest: unknownRest, Keep: -1}
	case errors.Is(err, secret.ErrDenied):
		return cache.Reaction{Rest: deniedRest, Postpone: deniedRest, Keep: deniedLife}
	case errors.As(err, &document):
		// Without an older version somebody is writing the first.
		return cache.Reaction{Postpone: brokenRest}
	}
	return cache.Reaction{Rest: v.upTo(firstRest, 0.2), Postpone: v.upTo(clientRefresh, 0.8)}
}

// errNotAgain: the document was read again a moment ago.
var errNotAgain = errors.New("the document was read again a moment ago")

// upTo returns a random part of d, at least the share least.
func (v *Vendor) upTo(d time.Duration, least float64) time.Duration {
	return time.Duration(float64(d) * (least + (1-least)*v.rand()))
}

// newer reads the document again for a caller whose call failed by its fault; nil:
// there is no newer version.
func (v *Vendor) newer(ctx context.Context, old *registry.Client, refused bool) *registry.Client {
	client, err := v.client(ctx, old.Name, func(c *registry.Client) bool { return c.Version != old.Version }, refused)
	if err != nil || client.Version == old.Version {
		return nil
	}
	return client
}

// atRest makes e say how long the key rests that err is about.
func (v *Vendor) atRest(e *Error, err error) *Error {
	var rest *cache.RestError
	if !errors.As(err, &rest) {
		return e
	}
	again := *e
	if e.temporary() {
		again.RetryAfter = max(rest.Until.Sub(v.now()), time.Second)
	}
	return &again
}
