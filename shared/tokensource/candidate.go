package tokensource

import (
	"context"
	"log/slog"
	"time"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/registry"
)

// candidates decides which credential of a client makes an exchange. The current version of a
// secret is a candidate until it has obtained a token: a person may have pasted a wrong one.
// If the authorization server refuses it, cached tokens are kept, and the previous version
// stands in for it when they have to be replaced.
type candidates struct {
	runtime
	exchange *exchanger
	// previous returns the client with the previous version's credential; an error: there is
	// none.
	previous func(context.Context, *registry.Client) (*registry.Client, error)
	log      *slog.Logger
}

// tested reports whether it is known if the authorization server accepts the credential.
func (c *candidates) tested(client *registry.Client) bool {
	return c.proven(client) || c.exchange.lockout.locked(client.Name, client.Version) != nil
}

// fetch makes an exchange with the client's credential, or with the previous one if that is
// refused and never obtained a token.
func (c *candidates) fetch(ctx context.Context, session *fleet.Session, lease *fleet.Lease, l *load) result {
	l.doubt(lease)
	if l.untried || l.doubted || l.forced {
		if err := c.exchange.admitAsk(ctx, session, l); err != nil {
			return result{err: err}
		}
	}
	known := c.exchange.lockout.locked(l.Client.Name, l.Client.Version)
	got := c.exchange.exchange(ctx, session, lease, l, l.Client, func() time.Duration { return c.firstLockout(ctx, l.Client) })
	if got.err == nil || c.proven(l.Client) || !atFault(got.err) {
		return got
	}
	f := failureOf(got.err)
	if known == nil && (f.refusal == nil || c.tested(l.Client)) {
		c.refused(l, f)
	}
	if !l.wanes(c.now()) {
		until := l.cached.Expiry()
		if f.refusal != nil {
			until = f.refusal.until
		}
		return result{keep: l.cachedUntil(until), end: got.end}
	}
	return c.standIn(ctx, session, lease, l, got)
}

// standIn makes an exchange with the previous credential after the client's own one failed.
func (c *candidates) standIn(ctx context.Context, session *fleet.Session, lease *fleet.Lease, l *load, failed result) result {
	if c.exchange.newer(ctx, l.Client) {
		return failed // the previous version may be newer than the client's, too
	}
	previous, err := c.previous(ctx, l.Client)
	if err != nil {
		return failed
	}
	if failed.end != nil {
		failed.end(ctx)
	}
	// It must not use up the logons that may fail in the time of the lockouts of the other version,
	// three in the first four hours.
	second := c.exchange.exchange(ctx, session, lease, l, previous, func() time.Duration { return lockoutTime(3) })
	if second.err != nil && atFault(second.err) {
		second.err = failed.err // about the version that a person has to repair
	}
	return second
}

// atFault reports whether an error is about the client's document or credential.
func atFault(err error) bool { return failureOf(err).fault.Kind == fault.Misconfigured }

// learn notes that another environment obtained a token with the client's credential at that
// time.
func (c *candidates) learn(at time.Time, l *load) {
	if !c.proven(l.Client) {
		c.exchange.states.update(context.Background(), nil, l.Client.Name, func(s *clientState) { s.prove(at, l.Client, &l.Ask) })
	}
}

// lockedOut returns the error of a client whose credential must not be sent now, as far as
// this environment knows; nil: there is none, or the previous version stands in for it.
func (c *candidates) lockedOut(ctx context.Context, client *registry.Client) error {
	r := c.exchange.lockout.locked(client.Name, client.Version)
	if r == nil {
		return nil
	}
	if !c.proven(client) {
		if previous, err := c.previous(ctx, client); err == nil && c.exchange.lockout.locked(previous.Name, previous.Version) == nil {
			return nil
		}
	}
	return r.error()
}

// proven reports whether the authorization server accepted the credential, as far as this
// environment knows.
func (c *candidates) proven(client *registry.Client) bool {
	state := c.exchange.states.get(client.Name)
	return state.proven(client)
}

// firstLockout returns how long the client's credential is locked out by a first refusal.
func (c *candidates) firstLockout(ctx context.Context, client *registry.Client) time.Duration {
	if !c.proven(client) && c.now().Sub(client.Created) < newVersion {
		if _, err := c.previous(ctx, client); err != nil {
			return newLockout
		}
	}
	return lockoutTime(1)
}

// refused tells operators that a candidate does not work.
func (c *candidates) refused(l *load, f *failure) {
	c.exchange.count(CountCandidate)
	attributes := []any{"client", l.Client.Name, "version", l.Client.Version, "requestId", l.CorrelationID, "problem", f.fault.Detail}
	c.log.Warn("candidate refused", append(attributes, l.attributes()...)...)
}
