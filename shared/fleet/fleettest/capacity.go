package fleettest

import (
	"errors"
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
	ReadUnits, readUnit   = 3000, 4 << 10
	WriteUnits, writeUnit = 1000, 1 << 10
	// MaxItem is how large an item may be, in bytes.
	MaxItem = 400 << 10
)

// Usage is what the calls of a table asked for, throttled ones included.
type Usage struct {
	// Reads and Writes are units of all items.
	Reads, Writes float64
	// Peaks are by item.
	Peaks map[string]Peak
	// Largest is the size of the largest item, in bytes.
	Largest int
	// Throttled is how many calls were throttled.
	Throttled int
}

// Peak is the most units that an item was asked for in one second of the clock.
type Peak struct{ Reads, Writes float64 }

// capacity is what is left of the limits of each item. The zero value has none.
type capacity struct {
	mu      sync.Mutex
	limited bool             // guarded by mu
	total   Usage            // without its peaks; guarded by mu
	items   map[string]*item // by name; guarded by mu
}

// item is how much of an item's capacity is used.
type item struct {
	// As leaky buckets at a time.
	at            time.Time
	reads, writes float64
	// now is of one second of the clock, and peak of all.
	second    int64
	now, peak Peak
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
	return t.capacity.total.Throttled
}

// Usage returns what all calls asked for.
func (t *Table) Usage() Usage {
	t.capacity.mu.Lock()
	defer t.capacity.mu.Unlock()
	total := t.capacity.total
	total.Peaks = make(map[string]Peak)
	for name, i := range t.capacity.items {
		total.Peaks[name] = i.peak
	}
	return total
}

func (c *capacity) read(row fleet.Item) error {
	return c.use(row.Name, size(row), units(size(row), readUnit), 0)
}

func (c *capacity) write(before, after fleet.Item) error {
	larger := max(size(before), size(after))
	if size(after) > MaxItem {
		return errors.New("ValidationException: the item is too large")
	}
	return c.use(after.Name, larger, 0, units(larger, writeUnit))
}

func (c *capacity) use(name string, size int, reads, writes float64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.items == nil {
		c.items = make(map[string]*item)
	}
	i, now := c.items[name], time.Now()
	if i == nil {
		i = &item{at: now}
		c.items[name] = i
	}
	i.note(now, reads, writes)
	c.total.Reads, c.total.Writes, c.total.Largest = c.total.Reads+reads, c.total.Writes+writes, max(c.total.Largest, size)
	if !c.limited {
		return nil
	}
	passed := now.Sub(i.at).Seconds()
	i.at, i.reads, i.writes = now, max(0, i.reads-passed*ReadUnits), max(0, i.writes-passed*WriteUnits)
	if reads > 0 && i.reads+reads > ReadUnits || writes > 0 && i.writes+writes > WriteUnits {
		c.total.Throttled++
		return fmt.Errorf("ProvisionedThroughputExceededException: %w", fleet.ErrThrottled)
	}
	i.reads, i.writes = i.reads+reads, i.writes+writes
	return nil
}

// note adds a call to the peak.
func (i *item) note(now time.Time, reads, writes float64) {
	if second := now.Unix(); second != i.second {
		i.second, i.now = second, Peak{}
	}
	i.now.Reads, i.now.Writes = i.now.Reads+reads, i.now.Writes+writes
	i.peak.Reads, i.peak.Writes = max(i.peak.Reads, i.now.Reads), max(i.peak.Writes, i.now.Writes)
}

// size returns the size of an item in bytes, with the names of its attributes.
func size(row fleet.Item) int {
	return len("nameuntilownerstatevalueexpires_at") + len(row.Name) + len(row.Owner) + len(row.State) + len(row.Value) + 2*8
}

func units(bytes, unit int) float64 { return float64((bytes + unit - 1) / unit) }
