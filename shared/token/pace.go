package token

import "time"

// pace is a bucket that fills by itself, kept as one moment (the "virtual
// scheduling" form of the generic cell rate algorithm, ITU-T I.371). The zero value
// is a full bucket.
type pace struct {
	// next is when the bucket would be full again.
	next time.Time
}

// take takes one of a bucket of size, which gets one back every interval. What the
// bucket doesn't have yet is taken in advance, if it will within patience: wait is
// when. ok is false when nothing was taken.
func (p *pace) take(now time.Time, size int, interval, patience time.Duration) (wait time.Duration, ok bool) {
	full, whole := p.next, time.Duration(size)*interval
	// Much further ahead than anybody waits is a clock of somebody else's.
	if full.Before(now) || full.Sub(now) > whole+maxPatience {
		full = now
	}
	wait = max(0, full.Add(interval).Sub(now)-whole)
	if wait > patience {
		return wait, false
	}
	p.next = full.Add(interval)
	return wait, true
}

// maxPatience is how far ahead a place is taken at most.
const maxPatience = 15 * time.Second
