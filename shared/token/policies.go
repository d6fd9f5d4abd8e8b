package token

import (
	"context"
	"errors"
	"strings"
	"time"

	"tokenvendor/shared/cache"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/policy"
	"tokenvendor/shared/secret"
)

const (
	// policyRefresh is when the policy is read again, at the latest; jitter takes up to a
	// fifth off. policyFresh is how long it decides without being looked at: a client that
	// is frozen gets no token after that, even if the environment was idle.
	policyRefresh = 50 * time.Second
	policyFresh   = time.Minute
	// policyLife is how long a policy decides that cannot be read again, or whose newer
	// version is broken; policyDeniedLife is that after access was denied.
	policyLife       = time.Hour
	policyDeniedLife = 15 * time.Minute
	// policyRetry is how soon it is read again meanwhile, and policyBackoff how long a
	// missing policy is not looked for.
	policyRetry   = 10 * time.Second
	policyBackoff = 5 * time.Second
)

// policies caches the one policy. It is safe for concurrent use.
type policies struct {
	cfg   Config
	cache *cache.Cache[struct{}, *reading]
	// loader is the method load as a value, which would take memory at each request.
	loader func(context.Context, cache.Last[*reading]) (cache.Entry[*reading], error)
}

// reading is a version of the policy with when it was read, and when that was last tried.
type reading struct {
	policy      *policy.Policy
	version     string
	read, tried time.Time
}

// newPolicies returns nil where IAM alone decides.
func newPolicies(cfg Config) *policies {
	if cfg.Policy == nil {
		return nil
	}
	p := &policies{cfg: cfg, cache: cache.New[struct{}](cache.Config[*reading]{Now: cfg.clock, OnError: func(error, int, bool) cache.Reaction {
		return cache.Reaction{Backoff: cfg.jitter(policyBackoff, 0.2), Keep: -1}
	}})}
	p.loader = p.load
	return p
}

// current returns the policy. Without one no caller is allowed anything.
func (p *policies) current(ctx context.Context) (*reading, error) {
	r, _, err := p.cache.Get(ctx, struct{}{}, p.fresh, p.loader)
	if err != nil {
		return nil, policyFault(err).InBackoff(err, p.cfg.Now())
	}
	return r, nil
}

// fresh reports whether a policy may decide without being looked at. A clock that was set
// back makes none fresh.
func (p *policies) fresh(r *reading) bool {
	age := p.cfg.Now().Sub(r.tried)
	return age >= 0 && age < policyFresh
}

func (p *policies) load(ctx context.Context, last cache.Last[*reading]) (cache.Entry[*reading], error) {
	// Take the time before the read: the process may be frozen while the read is in flight.
	now := p.cfg.Now()
	document, err := p.cfg.Policy(ctx, last.Value != nil)
	next, refresh := &reading{version: document.Version, read: now, tried: now}, p.cfg.jitter(policyRefresh, 0.8)
	switch {
	case err != nil:
	case last.Value != nil && document.Version != "" && document.Version == last.Value.version:
		next.policy = last.Value.policy // a version does not change
	default:
		next.policy, err = policy.Parse(document.Text)
	}
	if err != nil {
		if !errors.Is(err, secret.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
			p.cfg.Count(CountPolicy)
			p.cfg.Log.Warn("policy not usable", "version", document.Version, "problem", policyFault(err).Detail)
		}
		if last.Value == nil || last.SetBack || now.Sub(last.Value.read) >= policyKeep(err) {
			return cache.Entry[*reading]{}, err
		}
		next.policy, next.version, next.read = last.Value.policy, last.Value.version, last.Value.read
		refresh = p.cfg.jitter(policyRetry, 0.5)
	}
	return cache.Entry[*reading]{Value: next, Refresh: now.Add(refresh), Expire: now.Add(policyLife)}, nil
}

// policyKeep returns how long after its reading a policy decides if it cannot be read again
// because of err.
func policyKeep(err error) time.Duration {
	switch {
	case errors.Is(err, secret.ErrNotFound):
		return 0
	case errors.Is(err, secret.ErrDenied):
		return policyDeniedLife
	}
	return policyLife
}

// policyFault returns what callers get when there is no policy: a policy that is missing,
// broken or forbidden denies.
func policyFault(err error) *fault.Error {
	var document *policy.DocumentError
	switch {
	case errors.As(err, &document):
		return fault.Refusal(fault.Suspended, "the policy is not usable: "+strings.Join(document.Problems, "; "))
	case errors.Is(err, secret.ErrNotFound):
		return fault.Refusal(fault.Suspended, "there is no policy (POLICY_SECRET_ID): "+err.Error())
	case errors.Is(err, secret.ErrDenied):
		return fault.Refusal(fault.Suspended, "the policy cannot be read (POLICY_SECRET_ID): "+err.Error())
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		e := fault.TimedOut()
		e.Detail = "reading the policy took too long: " + err.Error()
		return e
	case errors.Is(err, secret.ErrUnavailable):
		return &fault.Error{Kind: fault.Unavailable, Description: "the policy cannot be read now", Detail: err.Error(), RetryAfter: time.Second}
	}
	return fault.From(err)
}
