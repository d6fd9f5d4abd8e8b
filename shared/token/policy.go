package token

import (
	"context"
	"errors"
	"strings"
	"time"

	"tokenvendor/shared/cache"
	"tokenvendor/shared/policy"
	"tokenvendor/shared/secret"
)

const (
	// policyRefresh is when the policy is read again, at the latest; jitter takes up
	// to a fifth off. policyFresh is how long it decides without being looked at: a
	// client that is frozen gets no token after that, however idle we were.
	policyRefresh = 50 * time.Second
	policyFresh   = time.Minute
	// policyLife is how long a policy decides that cannot be read again, or whose
	// newer version is broken.
	policyLife = time.Hour
	// policyRetry is how soon it is tried again meanwhile, and policyRest how long a
	// policy that isn't there is not looked for.
	policyRetry = 10 * time.Second
	policyRest  = 5 * time.Second
)

// policies keeps the one policy.
type policies struct {
	read  func(ctx context.Context, once bool) (*policy.Policy, error)
	cache *cache.Cache[struct{}, *reading]
	v     *Vendor
}

// reading is a policy with when it was read, and when that was last tried.
type reading struct {
	policy      *policy.Policy
	read, tried time.Time
}

// newPolicies returns nil where IAM alone decides.
func newPolicies(cfg Config, v *Vendor) *policies {
	if cfg.Policy == nil {
		return nil
	}
	return &policies{read: cfg.Policy, v: v, cache: cache.New[struct{}](cache.Config[*reading]{
		Now: cfg.Now, OnError: func(error, int, bool) cache.Reaction { return cache.Reaction{Rest: v.upTo(policyRest, 0.2), Keep: -1} },
	})}
}

// current returns the policy; without one nobody is allowed anything.
func (p *policies) current(ctx context.Context) (*reading, error) {
	r, _, err := p.cache.Get(ctx, struct{}{}, p.fresh, p.load)
	if err != nil {
		return nil, p.v.atRest(policyFailure(err), err)
	}
	return r, nil
}

// fresh reports whether a policy may decide without being looked at. A clock that was
// set back makes none fresh.
func (p *policies) fresh(r *reading) bool {
	age := p.v.now().Sub(r.tried)
	return age >= 0 && age < policyFresh
}

func (p *policies) load(ctx context.Context, last cache.Last[*reading]) (cache.Entry[*reading], error) {
	// What comes is as old as the question: a process may be frozen meanwhile.
	now := p.v.now()
	document, err := p.read(ctx, last.Value != nil)
	next, refresh := &reading{policy: document, read: now, tried: now}, p.v.upTo(policyRefresh, 0.8)
	if err != nil {
		p.report(err)
		if last.Value == nil || now.Sub(last.Value.read) >= policyKeep(err) {
			return cache.Entry[*reading]{}, err
		}
		next.policy, next.read, refresh = last.Value.policy, last.Value.read, p.v.upTo(policyRetry, 0.5)
	}
	return cache.Entry[*reading]{Value: next, Refresh: now.Add(refresh), Expire: now.Add(policyLife)}, nil
}

// policyKeep is how long after its reading a policy decides when reading it again
// failed with err.
func policyKeep(err error) time.Duration {
	switch {
	case errors.Is(err, secret.ErrNotFound):
		return 0
	case errors.Is(err, secret.ErrDenied):
		return deniedLife
	}
	return policyLife
}

// report counts what does not pass away by itself.
func (p *policies) report(err error) {
	if !errors.Is(err, secret.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
		p.v.count(CountPolicy)
	}
}

// policyFailure is what callers get when there is no policy: a policy that is
// missing, broken or forbidden denies.
func policyFailure(err error) *Error {
	var document *policy.DocumentError
	switch {
	case errors.As(err, &document):
		return passing("the policy is not usable: " + strings.Join(document.Problems, "; "))
	case errors.Is(err, secret.ErrNotFound), errors.Is(err, secret.ErrDenied):
		return passing("there is no policy: " + err.Error())
	case errors.Is(err, secret.ErrUnavailable):
		return &Error{Kind: Unavailable, Description: "the policy cannot be read now", Detail: err.Error(), RetryAfter: time.Second}
	}
	return AsError(err)
}

// passing is a refusal that has nothing to do with what was asked.
func passing(detail string) *Error {
	e := Refusal(detail)
	e.Passing = true
	return e
}
