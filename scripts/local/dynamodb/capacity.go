package dynamodb

import (
	"time"

	"tokenvendor/scripts/local/awsjson"
)

// The limits of one item in a second, and what a unit is, in bytes. A strongly consistent read
// takes one unit per 4 KB, an eventually consistent one half of that, a write one per KB of the
// larger of the item before and after it, also if its condition does not hold ("Burst and
// adaptive capacity" and "Capacity unit consumption" in the developer guide).
const (
	readUnits, readUnit   = 3000, 4 << 10
	writeUnits, writeUnit = 1000, 1 << 10

	throughputExceeded = "ProvisionedThroughputExceededException"
)

// usage is how much of an item's capacity is used, as leaky buckets at a time.
type usage struct {
	at            time.Time
	reads, writes float64
}

// read counts a read of an item. The error is that of an item without capacity.
func (s *Server) read(t *table, key string, consistent bool) *awsjson.Error {
	cost := units(t.items[key], readUnit)
	if !consistent {
		cost /= 2
	}
	return s.use(t, key, cost, 0)
}

// write counts a write that replaces an item by after; nil: its condition does not hold.
func (s *Server) write(t *table, key string, after Item) *awsjson.Error {
	return s.use(t, key, 0, max(units(t.items[key], writeUnit), units(after, writeUnit)))
}

func (s *Server) use(t *table, key string, reads, writes float64) *awsjson.Error {
	if !s.cfg.Limits {
		return nil
	}
	u, now := t.used[key], time.Now()
	passed := now.Sub(u.at).Seconds()
	u = usage{at: now, reads: max(0, u.reads-passed*readUnits), writes: max(0, u.writes-passed*writeUnits)}
	defer func() { t.used[key] = u }()
	if reads > 0 && u.reads+reads > readUnits || writes > 0 && u.writes+writes > writeUnits {
		s.throttled++
		return fail(throughputExceeded, "The level of configured provisioned throughput for the table was exceeded")
	}
	u.reads, u.writes = u.reads+reads, u.writes+writes
	return nil
}

func units(i Item, unit int) float64 { return float64(max(1, (i.size()+unit-1)/unit)) }
