package fleettest

import (
	"fmt"
	"sync"
	"time"

	"tokenvendor/shared/fleet"
)

// DynamoDB's limits for one item in a second, and what a unit is, in bytes. A strongly
// consistent read takes one unit per 4 KB, a write one per KB of the larger of the item before
// and after it, also if its condition does not hold (docs.aws.amazon.com/amazondynamodb/latest/
// developerguide, "Burst and adaptive capacity" and "Capacity unit consumption").
const (
	readUnits, readUnit   = 3000, 4 << 10
	writeUnits, writeUnit = 1000, 1 << 10
)

// capacity is what is left of the limits of each item. The zero value has none.
type capacity struct {
	mu        sync.Mutex
	limited   bool              // guarded by mu
	throttled int               // guarded by mu
	used      map[string]*usage // by item; guarded by mu
}

// usage is how much of an item's capacity is used, as leaky buckets at a time.
type usage struct {
	at            time.Time
	reads, writes float64
}

// Limit makes the table throttle as DynamoDB does: an item has 1000 write units and 3000 read
// units a second.
func (t *Table) Limit() {
	t.capacity.mu.Lock()
	defer t.capacity.mu.Unlock()
	t.capacity.limited = true
}

// Throttled returns how many calls were throttled.
func (t *Table) Throttled() int {
	t.capacity.mu.Lock()
	defer t.capacity.mu.Unlock()
	return t.capacity.throttled
}

func (c *capacity) read(item fleet.Item) error {
	return c.use(item.Name, units(size(item), readUnit), 0)
}

func (c *capacity) write(before, after fleet.Item) error {
	return c.use(after.Name, 0, units(max(size(before), size(after)), writeUnit))
}

func (c *capacity) use(name string, reads, writes float64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.limited {
		return nil
	}
	if c.used == nil {
		c.used = make(map[string]*usage)
	}
	u, now := c.used[name], time.Now()
	if u == nil {
		u = &usage{at: now}
		c.used[name] = u
	}
	passed := now.Sub(u.at).Seconds()
	u.at, u.reads, u.writes = now, max(0, u.reads-passed*readUnits), max(0, u.writes-passed*writeUnits)
	if reads > 0 && u.reads+reads > readUnits || writes > 0 && u.writes+writes > writeUnits {
		c.throttled++
		return fmt.Errorf("ProvisionedThroughputExceededException: %w", fleet.ErrThrottled)
	}
	u.reads, u.writes = u.reads+reads, u.writes+writes
	return nil
}

// size returns the size of an item in bytes, with the names of its attributes.
func size(item fleet.Item) int {
	return len("nameuntilownerstatevalueexpires_at") + len(item.Name) + len(item.Owner) + len(item.State) + len(item.Value) + 2*8
}

func units(bytes, unit int) float64 { return float64((bytes + unit - 1) / unit) }
