package tokensource

import "time"

// maxReservation is how far ahead a permit is reserved at most.
const maxReservation = 15 * time.Second

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
