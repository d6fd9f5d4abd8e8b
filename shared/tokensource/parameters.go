package tokensource

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"tokenvendor/shared/fleet"
)

const (
	// Parameters that callers choose may cause maxParameterFailures failed logons within
	// parameterWindow, and those of one caller one of them, so that a single caller does not
	// use up what the others may need. For refusedMemory it is known which asks were refused, of
	// maxFailures failures.
	maxParameterFailures = 2
	parameterWindow      = time.Hour
	refusedMemory        = 24 * time.Hour
	maxFailures          = 64
)

// parameterFailure is a failed logon that the parameters of a caller caused.
type parameterFailure struct {
	At     int64  `json:"at"`
	Caller string `json:"caller"`
	// Ask is that of [load.id].
	Ask string `json:"ask,omitempty"`
	// Again means that the same ask had failed before.
	Again bool `json:"again,omitempty"`
}

// parameterFailures are those of one client, the newest last.
type parameterFailures []parameterFailure

// doubt notes what speaks against a load: parameters that a caller chose, whether they never obtained
// a token, and whether the last exchange with them failed.
func (l *load) doubt(lease *fleet.Lease) {
	l.chosen = l.Ask.Key() != l.Client.Defaults.Key()
	l.untried = l.chosen && !l.known
	l.doubted = l.chosen && l.known && l.failedBefore(lease)
}

// failedBefore reports whether the last exchange for the token failed.
func (l *load) failedBefore(lease *fleet.Lease) bool {
	return l.failed || lease.Valid() && lease.Failures > 0
}

// parametersBackoff is how long parameters that caused a failed logon are not tried again. That is
// as rarely as a refused credential, but once in the time that their failures count.
func (l *load) parametersBackoff(lease *fleet.Lease) time.Duration {
	times := 1
	if l.failedBefore(lease) {
		times++
	}
	return min(lockoutTime(times), parameterWindow)
}

// withheld returns how long the parameters of a load must not be tried; 0: they may be.
func (s parameterFailures) withheld(l *load, now time.Time) time.Duration {
	switch {
	case l.untried:
		return s.spent(now, l.Caller)
	case l.doubted:
		return s.barred(now, l.id())
	}
	return 0
}

// spent returns how long parameters of a caller that never worked must not be tried; 0: they
// may be.
func (s parameterFailures) spent(now time.Time, caller string) (wait time.Duration) {
	for i, f := range s {
		if f.Caller == caller || len(s)-i == maxParameterFailures {
			wait = max(wait, time.UnixMilli(f.At).Add(parameterWindow).Sub(now))
		}
	}
	return wait
}

// barred returns how long an ask that was refused after it had worked must not be tried again; 0:
// it may be. All of these together try one an hour, so that they leave something to new asks, and
// none while others have used up what is allowed. Its own failures are a matter of its backoff.
func (s parameterFailures) barred(now time.Time, ask string) (wait time.Duration) {
	if !s.include(ask) {
		return 0
	}
	others := 0
	for _, f := range slices.Backward(s) {
		left := time.UnixMilli(f.At).Add(parameterWindow).Sub(now)
		if left <= 0 || f.Ask == ask {
			continue
		}
		if others++; f.Again || others == maxParameterFailures {
			wait = max(wait, left)
		}
	}
	return wait
}

// include reports whether an ask caused one of the failures.
func (s parameterFailures) include(ask string) bool {
	return slices.ContainsFunc(s, func(f parameterFailure) bool { return f.Ask == ask })
}

// add returns the failures and that of an ask of a caller.
func (s parameterFailures) add(now time.Time, caller, ask string) parameterFailures {
	return append(slices.Clip(s), parameterFailure{now.UnixMilli(), caller, ask, s.include(ask)})
}

// merge returns the failures and other ones, but for those that are too old to matter.
func (s parameterFailures) merge(other parameterFailures, now time.Time) parameterFailures {
	all := slices.Concat(s, other)
	slices.SortFunc(all, func(a, b parameterFailure) int {
		return cmp.Or(cmp.Compare(a.At, b.At), strings.Compare(a.Caller, b.Caller), strings.Compare(a.Ask, b.Ask))
	})
	all = slices.Compact(all)
	var kept parameterFailures
	for i, f := range all {
		age := now.Sub(time.UnixMilli(f.At))
		newer := slices.ContainsFunc(all[i+1:], func(g parameterFailure) bool { return g.Ask == f.Ask })
		if age < -time.Minute || age >= refusedMemory || age >= parameterWindow && newer { // or of a clock that is ahead
			continue
		}
		kept = append(kept, f)
	}
	return kept[max(0, len(kept)-maxFailures):]
}
