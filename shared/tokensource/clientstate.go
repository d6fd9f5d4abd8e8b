package tokensource

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/registry"
)

const (
	// New asks of a client take a permit of a bucket with room for newAskBurst, which gains
	// one every newAskInterval. One caller may take two thirds of that, for new asks and for
	// tokens that are replaced because it says so.
	newAskBurst       = 30
	newAskInterval    = 5 * time.Second
	callerAskBurst    = newAskBurst * 2 / 3
	callerAskInterval = newAskInterval * 3 / 2
	// After maxFailedLogons within logonWindow, no exchange is made only to find out whether
	// the credential or a caller's parameters are at fault.
	maxFailedLogons = 2
	logonWindow     = 10 * time.Minute
	// referenceInterval is how often a reference is replaced, and referenceLife how long its refusal
	// says that the credential is refused: the server may have forgotten a tenant meanwhile.
	referenceInterval = time.Hour
	referenceLife     = 2 * time.Hour
	// maxProven and maxCallers bound what is kept of a client.
	maxProven = 4
	// updateTime is how long the row is changed again while other environments are faster.
	updateTime = 5 * time.Second
	maxCallers = 64
)

// clientState is what is known of a client apart from its tokens, here or in the table.
// Times are in Unix milliseconds.
type clientState struct {
	// Proofs say which credentials the authorization server accepts, the newest last.
	Proofs []proof `json:"proofs,omitempty"`
	// Reference is an ask that obtained a token, so that its parameters are known to be good; nil:
	// there is none. ReferenceAt is when it did, or when it was found to be good no more.
	Reference   *ask.Ask `json:"reference,omitempty"`
	ReferenceAt int64    `json:"referenceAt,omitempty"`
	// Suspects are the failed logons with parameters that a caller chose, of credentials that are
	// not proven: either may be at fault.
	Suspects suspects `json:"suspects,omitempty"`
	// Logons are the failed logons of all causes within logonWindow.
	Logons []int64 `json:"logons,omitempty"`
	// Failures are the failed logons that parameters of callers caused, the newest last.
	Failures parameterFailures `json:"failures,omitempty"`
	// Asks is the bucket of new asks, as a moment (see [RateLimiter]), and Callers the
	// share of each caller.
	Asks    int64            `json:"asks,omitempty"`
	Callers map[string]int64 `json:"callers,omitempty"`
}

// proof is what the authorization server said of a credential.
type proof struct {
	// Credential is that of [proofOf].
	Credential string `json:"credential"`
	At         int64  `json:"at"`
	// Refused means that it accepts the credential no more.
	Refused bool `json:"refused,omitempty"`
}

// of reports whether p is about the credential of a client; see [proofOf].
func (p *proof) of(c *registry.Client) bool {
	credential, ok := strings.CutPrefix(p.Credential, c.Terms)
	return ok && credential == c.Credential
}

// proofOf identifies a client's credential in a proof: what a server says of it holds for the
// client_id and the endpoint, too.
func proofOf(c *registry.Client) string { return c.Terms + c.Credential }

// prove notes that a credential obtained a token by a.
func (s *clientState) prove(now time.Time, c *registry.Client, a *ask.Ask) {
	known := s.proven(c)
	if !known || s.outdated(now, c, a) {
		reference := *a // a is part of a load, which must not be kept
		s.Reference, s.ReferenceAt = &reference, now.UnixMilli()
	}
	if !known {
		s.add(proof{Credential: proofOf(c), At: now.UnixMilli()})
		s.Suspects = s.Suspects.drop(c.Version)
	}
}

// outdated reports whether an ask that obtained a token becomes the reference. The document's own
// parameters do, because no caller chose them, and they remain it.
func (s *clientState) outdated(now time.Time, c *registry.Client, a *ask.Ask) bool {
	switch defaults := c.Defaults.Key(); {
	case s.Reference == nil:
		return true
	case s.Reference.Key() == defaults:
		return false
	case a.Key() == defaults:
		return true
	}
	return now.Sub(time.UnixMilli(s.ReferenceAt)) >= referenceInterval
}

// dropReference notes that the reference is good no more.
func (s *clientState) dropReference(now time.Time) {
	s.Reference, s.ReferenceAt = nil, now.UnixMilli()
}

// refersTo reports whether a is the reference.
func (s *clientState) refersTo(a *ask.Ask) bool {
	return s.Reference != nil && s.Reference.Key() == a.Key()
}

// refuse notes that a credential that obtained a token before was refused.
func (s *clientState) refuse(now time.Time, c *registry.Client) {
	if s.proven(c) {
		s.add(proof{proofOf(c), now.UnixMilli(), true})
	}
}

// add replaces what is known of a credential, if p is newer.
func (s *clientState) add(p proof) {
	proofs := slices.Clone(s.Proofs)
	for i, old := range proofs {
		if old.Credential == p.Credential {
			if old.At >= p.At {
				return
			}
			proofs = slices.Delete(proofs, i, i+1)
			break
		}
	}
	s.Proofs = append(proofs, p)
	slices.SortStableFunc(s.Proofs, func(a, b proof) int { return cmp.Compare(a.At, b.At) })
	s.Proofs = s.Proofs[max(0, len(s.Proofs)-maxProven):]
}

// proven reports whether the authorization server accepted the credential last.
func (s *clientState) proven(c *registry.Client) bool {
	return slices.ContainsFunc(s.Proofs, func(p proof) bool { return !p.Refused && p.of(c) })
}

// failLogon notes a failed logon. Two that fail at the same time are two.
func (s *clientState) failLogon(now time.Time) {
	at := now.UnixMilli()
	for slices.Contains(s.Logons, at) {
		at++
	}
	s.Logons = append(slices.Clip(s.Logons), at)
}

// failedAtOnce reports whether another logon failed within the time of an exchange.
func (s *clientState) failedAtOnce(now time.Time) bool {
	recent := 0
	for _, at := range s.Logons {
		if now.Sub(time.UnixMilli(at)) < exchangeReserve {
			recent++
		}
	}
	return recent > 1
}

// admit takes a permit of the share of a caller, and for a new ask one of the client's bucket. wait
// is how long there is none, 0: it was taken.
func (s *clientState) admit(now time.Time, caller string, newAsk bool) (wait time.Duration) {
	all, own := RateLimiter{time.UnixMilli(s.Asks)}, RateLimiter{time.UnixMilli(s.Callers[caller])}
	if wait, ok := own.Reserve(now, callerAskBurst, callerAskInterval, 0); !ok {
		return wait
	}
	if newAsk {
		if wait, ok := all.Reserve(now, newAskBurst, newAskInterval, 0); !ok {
			return wait
		}
	}
	callers := maps.Clone(s.Callers)
	maps.DeleteFunc(callers, func(_ string, full int64) bool { return full <= now.UnixMilli() })
	if callers == nil || len(callers) >= maxCallers {
		callers = make(map[string]int64)
	}
	callers[caller] = own.full.UnixMilli()
	s.Asks, s.Callers = all.full.UnixMilli(), callers
	return 0
}

// merge adds what other knows: a row that was deleted must not make the fleet forget. It
// forgets failures that are too old to matter.
func (s *clientState) merge(other *clientState, now time.Time) {
	s.keep(other, now)
	if other.ReferenceAt > s.ReferenceAt || s.Reference == nil && s.ReferenceAt == 0 {
		s.Reference, s.ReferenceAt = other.Reference, other.ReferenceAt
	}
	s.Suspects = s.Suspects.merge(other.Suspects)
	s.Asks = max(s.Asks, other.Asks)
	for caller, full := range other.Callers {
		if full > max(s.Callers[caller], now.UnixMilli()) && len(s.Callers) < maxCallers {
			if s.Callers == nil {
				s.Callers = make(map[string]int64)
			}
			s.Callers[caller] = full
		}
	}
}

// keep adds the proofs and the failures that other knows.
func (s *clientState) keep(other *clientState, now time.Time) {
	for _, p := range other.Proofs {
		s.add(p)
	}
	s.Failures = s.Failures.merge(other.Failures, now)
	s.Logons = slices.Concat(s.Logons, other.Logons)
	slices.Sort(s.Logons)
	s.Logons = slices.DeleteFunc(slices.Compact(s.Logons), func(at int64) bool {
		return now.Sub(time.UnixMilli(at)).Abs() >= logonWindow
	})
}

// clientStates are the states of all clients. They are shared with the fleet as far as the
// table can be used, and safe for concurrent use.
type clientStates struct {
	runtime

	clients perClient[sharedState]
}

// sharedState is the state of one client.
type sharedState struct {
	mu    sync.Mutex
	state clientState // replaced, never changed; guarded by mu
	last  *fleet.Last // guarded by mu
	begun string      // the version that begin was called with last; guarded by mu
	day   int64       // that the use was noted for last, see [usage]; guarded by mu
}

func newClientStates(rt runtime) *clientStates {
	return &clientStates{runtime: rt, clients: perClient[sharedState]{guards: (*sharedState).guards}}
}

func (s *clientStates) client(name string) *sharedState {
	return s.clients.of(name, func() *sharedState { return &sharedState{} })
}

// guards reports whether the state keeps a credential from being sent. Such a state is not
// forgotten.
func (s *sharedState) guards() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.state.Suspects)+len(s.state.Failures)+len(s.state.Logons) > 0
}

// begin reports whether version is another one than before.
func (s *sharedState) begin(version string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	same := s.begun == version
	s.begun = version
	return !same
}

// get returns what this environment knows.
func (s *clientStates) get(name string) clientState {
	c := s.client(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// read returns what this environment and the table know.
func (s *clientStates) read(ctx context.Context, session *fleet.Session, name string) clientState {
	return s.update(ctx, session, name, func(*clientState) {})
}

// update applies change, which may be called several times, to what this environment and the
// table know together, and returns the result. Without the table it applies to this
// environment. No lock is held while the table is called.
func (s *clientStates) update(ctx context.Context, session *fleet.Session, name string, change func(*clientState)) clientState {
	c, now := s.client(name), s.now()
	c.mu.Lock()
	own, last := c.state, c.last
	c.mu.Unlock()
	var next clientState
	last, ok := session.Change(ctx, updateTime, fleet.ClientRow, name, last, func(note []byte) []byte {
		next = clientState{}
		if json.Unmarshal(note, &next) != nil {
			next = clientState{}
		}
		next.merge(&own, now)
		change(&next)
		if text := encode(next); string(text) != "{}" {
			return text
		}
		return nil
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if ok {
		next.keep(&c.state, now) // another request may have noted something meanwhile, without the table
	} else {
		next = clientState{}
		next.merge(&c.state, now)
		change(&next)
		last = c.last
	}
	c.state, c.last = next, last
	return next
}

// awaitRefusal waits while another exchange, which failed at the same time, finds out whether the
// credential is at fault: to find out twice would cost one more failed logon, and the next exchange
// in the same slot another one. It returns what is known then.
func (s *clientStates) awaitRefusal(ctx context.Context, session *fleet.Session, client *registry.Client) (state clientState) {
	for end := s.now().Add(permitTime); ; {
		waited := session.Wait(ctx, s.jitter(probePoll, 0.5))
		state = s.read(ctx, session, client.Name)
		if !waited || !state.proven(client) || !s.now().Before(end) {
			return state
		}
	}
}
