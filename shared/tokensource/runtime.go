package tokensource

import (
	"context"
	"encoding/json"
	"time"

	"tokenvendor/shared/fault"
)

const (
	// firstBackoff is the longest backoff after a first exchange that failed, doubling with
	// further ones to coldBackoff, or to permanentBackoff if the failure is not temporary.
	firstBackoff     = 5 * time.Second
	coldBackoff      = 30 * time.Second
	permanentBackoff = 2 * time.Minute
	// refreshBackoff is the shortest backoff after a refresh that failed, doubling to
	// longBackoff: an authorization server that is down is not called by every caller all
	// the time.
	refreshBackoff = 30 * time.Second
	longBackoff    = 5 * time.Minute
	backoffJitter  = 0.25

	// exchangeReserve is what a load must have left to go on alone after it waited for
	// another environment's exchange; and a lease, for an exchange to begin.
	exchangeReserve = 5500 * time.Millisecond
	// permitTime is how long a request waits for the permission to make an exchange, because
	// a request that waits holds an execution environment.
	permitTime = 2 * time.Second
	// patientTime is how long an order waits: it would use up the receives of its message.
	patientTime = 12 * time.Second
	// refreshPoll is how soon an environment looks again for the token that another one
	// fetches, while it has a cached token.
	refreshPoll = 2 * time.Second
)

// The names that Config.Count is called with.
const (
	// CountExchange: an exchange was begun.
	CountExchange = "Exchanges"
	// CountFailedLogon: an authorization server refused a client's credential.
	CountFailedLogon = "FailedLogons"
	// CountFuse: a credential was not sent because it was refused before.
	CountFuse = "FuseBlown"
	// CountThrottled: an exchange was not made to spare the authorization server.
	CountThrottled = "ExchangesWithheld"
	// CountAlone: an exchange was permitted without the table.
	CountAlone = "BudgetAlone"
	// CountCandidate: an authorization server refused a credential that never obtained a
	// token; and then each token of another one that is handed out instead.
	CountCandidate = "CandidateRefused"
	// CountParameters: parameters that a caller chose caused a failed logon.
	CountParameters = "ParametersRefused"
	// CountAsks: a new ask, or the replacement of a token that is not due, was refused, because
	// the client or the caller had too many.
	CountAsks = "AsksRefused"
	// CountShadowGood and CountShadowBad: a shadow credential was tried.
	CountShadowGood = "ShadowSucceeded"
	CountShadowBad  = "ShadowFailed"
)

// runtime is what every part of this package takes from its environment.
type runtime struct {
	now   func() time.Time
	rand  func() float64 // in [0, 1)
	count func(name string)
}

// jitter returns a random part of d, at least the share least.
func (r *runtime) jitter(d time.Duration, least float64) time.Duration {
	return time.Duration(float64(d) * (least + (1-least)*r.rand()))
}

// backoff returns how long nothing needs to be tried again that failed so often in a row
// with e; cached means that there is a token to go on with.
func (r *runtime) backoff(e *fault.Error, failures int, cached bool) time.Duration {
	doublings := min(failures-1, 10)
	d, limit := r.jitter(firstBackoff, 0.2)<<doublings, coldBackoff
	switch {
	case cached:
		d, limit = refreshBackoff<<doublings, longBackoff
	case !e.Kind.Temporary():
		limit = permanentBackoff
	}
	d = min(d, limit)
	if cached {
		d += time.Duration(float64(d) * backoffJitter * r.rand())
	}
	return max(d, e.RetryAfter)
}

// pause waits for d. The error says that ctx ended first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fault.TimedOut()
	}
}

// encode returns the JSON of a value of this package.
func encode(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return text
}
