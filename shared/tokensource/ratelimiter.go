package tokensource

import "time"

const (
	// maxReservation is how far ahead a permit is reserved at most.
	maxReservation = 15 * time.Second
	// maxWait is how long a request waits for a permit.
	maxWait = 2 * time.Second
)

// RateLimiter is a token bucket that is kept as one moment (the "virtual scheduling" form of
// the generic cell rate algorithm, ITU-T I.371). The zero value is a full bucket. It is not
// safe for concurrent use.
type RateLimiter struct {
	// full is when the bucket would be full again.
	full time.Time
}

// Reserve takes one permit of a bucket with room for burst, which gains one every interval.
// A permit that is not there yet is reserved if it will be within patience: wait is how long
// that takes. ok is false if none was taken.
func (l *RateLimiter) Reserve(now time.Time, burst int, interval, patience time.Duration) (wait time.Duration, ok bool) {
	full, whole := l.full, time.Duration(burst)*interval
	// A moment much further ahead can only come from another environment's skewed clock.
	if full.Before(now) || full.Sub(now) > whole+maxReservation {
		full = now
	}
	wait = max(0, full.Add(interval).Sub(now)-whole)
	if wait > patience {
		return wait, false
	}
	l.full = full.Add(interval)
	return wait, true
}

// spend takes n permits that were used already. The bucket is then empty for debt at most.
func (l *RateLimiter) spend(now time.Time, n, burst int, interval, debt time.Duration) {
	full := now
	if l.full.After(now) {
		full = l.full
	}
	limit := now.Add(time.Duration(burst)*interval + debt)
	if full = full.Add(time.Duration(n) * interval); full.After(limit) {
		full = limit
	}
	if full.After(l.full) {
		l.full = full
	}
}

// slots is one environment's share of a budget that it cannot see: one permit every interval,
// at moments that differ by environment. A permit can be used for a while, so that a share may
// be less than one permit of the burst that all environments have together. It is not safe for
// concurrent use.
type slots struct {
	// phase, in [0, 1), is where in the interval the permits lie.
	phase float64
	// last is the slot of the last permit that was taken.
	last time.Time
}

// reserve takes one permit that was gained in the last burst of time, or will be within
// patience; see [RateLimiter.Reserve].
func (s *slots) reserve(now time.Time, interval, burst, patience time.Duration) (wait time.Duration, ok bool) {
	after := now.Add(-burst)
	if s.last.After(after) && s.last.Sub(now) <= maxReservation {
		after = s.last
	}
	start := time.UnixMilli(0).Add(time.Duration(s.phase * float64(interval)))
	slot := start.Add(after.Sub(start).Truncate(interval) + interval)
	if wait = max(0, slot.Sub(now)); wait > patience {
		return wait, false
	}
	s.last = slot
	return wait, true
}
