package tokensource

import "time"

// rate is how many exchanges per second an authorization server bears from all environments.
// All limits of a server follow from it. With the default, [registry.DefaultRate], the fleet
// makes fewer than 600 a minute: SAP Cloud Identity Services takes 1000 of a tenant, logins of
// people included, and 50 a second from one address. That holds for every minute in which the
// table goes or comes back, with lots that are used lotTime later, and with a fleet that is a
// fifth larger than it was counted: 20 + 8 × 62 + 1.2 × 6.5 × 10 = 594. With another rate each
// number is larger or smaller by the same factor, and so the fleet makes fewer than 60 times
// the rate; or a few more at a rate below 1, where environments without the table have permits
// at random moments.
//
// A bucket holds the same time at any rate. Clients of one server with different rates share
// it, because each permit takes the time that its own rate needs for one.
type rate float64

const (
	// An environment makes exchanges at the rate, and those of environmentTime at once.
	environmentTime = time.Second
	// The fleet makes exchanges at the share fleetShare of the rate, and those of fleetTime at
	// once.
	fleetShare = 0.8
	fleetTime  = 2 * time.Second
	// aloneShare is that of all environments together while the table cannot be used. Permits
	// that were not used are kept for aloneTime.
	aloneShare = 0.65
	aloneTime  = 10 * time.Second
	// lotFraction bounds the permits that an environment takes ahead: those of so much time, and
	// at most maxLot. A permit that is not used is lost to the fleet.
	lotFraction = 400 * time.Millisecond
	maxLot      = 10
	// lotSpan is the time in which they begin to hold, less than that of one permit by default.
	lotSpan = 100 * time.Millisecond
)

// limit is that of a [RateLimiter]: burst permits at once, and one more each interval.
type limit struct {
	burst    int
	interval time.Duration
}

// within returns how many exchanges are made in d, at least one.
func (r rate) within(d time.Duration) int { return max(1, int(float64(r)*d.Seconds())) }

// interval returns the time between two exchanges at a share of the rate.
func (r rate) interval(share float64) time.Duration {
	return time.Duration(float64(time.Second) / (share * float64(r)))
}

// environment returns the limit of one environment.
func (r rate) environment() limit { return limit{r.within(environmentTime), r.interval(1)} }

// fleet returns the limit of all environments with the table.
func (r rate) fleet() limit { return limit{r.within(fleetTime), r.interval(fleetShare)} }

// alone returns the limit of one of n environments that cannot use the table.
func (r rate) alone(n int) limit {
	interval := time.Duration(n) * r.interval(aloneShare)
	return limit{max(1, int(aloneTime/interval)), interval}
}

// lot returns how many permits an environment takes at once at most.
func (r rate) lot() int { return min(r.within(lotFraction), maxLot) }

// half returns the limit of one client while others want the server.
func (l limit) half() limit { return limit{max(1, l.burst/2), 2 * l.interval} }

// whole is the time that a bucket holds.
func (l limit) whole() time.Duration { return time.Duration(l.burst) * l.interval }

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

// spend takes the time of permits that were used already. The bucket is full again after most
// at the latest, unless it was further from that before.
func (l *RateLimiter) spend(now time.Time, used, most time.Duration) {
	full := now
	if l.full.After(now) {
		full = l.full
	}
	if full = full.Add(used); full.Sub(now) > most {
		full = now.Add(most)
	}
	if full.After(l.full) {
		l.full = full
	}
}

// millis returns a moment for a row. It is rounded up, so that rounding adds no permits.
func (l *RateLimiter) millis() int64 {
	return l.full.Add(time.Millisecond - time.Nanosecond).UnixMilli()
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
