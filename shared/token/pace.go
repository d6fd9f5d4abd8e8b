package token

import "time"

// pace is a bucket that fills by itself, kept as one moment (the "virtual
// scheduling" form of the generic cell rate algorithm, ITU-T I.371). The zero value
// is a full bucket.
type pace struct {
	// next is when the bucket would be full again.
	next time.Time
}

// take takes one of a bucket of size, which gets one back every interval. When the
// bucket is empty, nothing is taken, and wait is when there will be one.
func (p *pace) take(now time.Time, size int, interval time.Duration) (wait time.Duration) {
	full := p.next
	// Further ahead than an empty bucket is a clock of somebody else's.
	if full.Before(now) || full.Sub(now) > time.Duration(size)*interval {
		full = now
	}
	if wait = full.Add(interval).Sub(now) - time.Duration(size)*interval; wait > 0 {
		return wait
	}
	p.next = full.Add(interval)
	return 0
}
