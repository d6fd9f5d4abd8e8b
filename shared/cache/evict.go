package cache

import (
	"slices"
	"time"
)

const (
	// slotSize is what the cache needs for one key, in bytes.
	slotSize = 400
	// sampleSize is of how many keys the least recently used one is evicted. An LRU list would
	// need a write lock for each hit.
	sampleSize = 32
)

// replace sets the state of a slot, and removes the slot if that is empty. mu must be locked.
func (c *Cache[K, V]) replace(s *slot[K, V], st *state[V]) {
	old := s.state.Load()
	c.used += st.size - old.size
	s.state.Store(st)
	if from, to := c.groupOf(old), c.groupOf(st); from != to {
		c.leave(s, from)
		if to != "" {
			c.groups[to] = append(c.groups[to], s)
		}
	}
	if !st.has && st.err == nil && s.flight == nil {
		delete(c.slots, s.key)
	}
}

// groupOf returns the group of a state; empty: none.
func (c *Cache[K, V]) groupOf(st *state[V]) string {
	if c.cfg.Group == nil || !st.has && st.err == nil {
		return ""
	}
	return c.cfg.Group(st.entry.Value, st.err)
}

// leave removes a slot from a group. mu must be locked.
func (c *Cache[K, V]) leave(s *slot[K, V], group string) {
	if group == "" {
		return
	}
	i, members := slices.Index(c.groups[group], s), c.groups[group]
	if members = slices.Delete(members, i, i+1); len(members) == 0 {
		delete(c.groups, group)
		return
	}
	c.groups[group] = members
}

// members returns the slots of a group. mu must be locked.
func (c *Cache[K, V]) members(group string) []*slot[K, V] {
	if c.cfg.Group != nil {
		return slices.Clone(c.groups[group])
	}
	all := make([]*slot[K, V], 0, len(c.slots))
	for _, s := range c.slots {
		all = append(all, s)
	}
	return all
}

// evict removes slots until the limits are met, but not newest. mu must be locked.
func (c *Cache[K, V]) evict(newest *slot[K, V]) {
	c.evictGroup(newest)
	for now := c.cfg.Now(); len(c.slots) > c.cfg.MaxEntries || c.cfg.MaxSize > 0 && c.used > c.cfg.MaxSize; {
		s := c.sample(now, newest)
		if s == nil {
			return
		}
		c.replace(s, &state[V]{})
	}
}

// sample returns a slot to evict; nil: a load is running for each one of the sample. It prefers
// one without a usable value or a backoff, and then the least recently used. mu must be locked.
func (c *Cache[K, V]) sample(now time.Time, newest *slot[K, V]) (oldest *slot[K, V]) {
	seen := 0
	for _, s := range c.slots { // begins anywhere
		if s == newest || s.flight != nil {
			continue
		}
		if st := s.state.Load(); !st.usable(now, nil) && !st.waits(now) {
			return s
		}
		oldest = older(oldest, s)
		if seen++; seen == sampleSize {
			break
		}
	}
	return oldest
}

// older returns the less recently used one of two slots; the first may be nil.
func older[K comparable, V any](a, b *slot[K, V]) *slot[K, V] {
	if a == nil || b.usedAt.Load() < a.usedAt.Load() {
		return b
	}
	return a
}

// evictGroup removes the least recently used slot of a group that has too many. mu must be locked.
func (c *Cache[K, V]) evictGroup(newest *slot[K, V]) {
	st := newest.state.Load()
	group := c.groupOf(st)
	if group == "" || c.cfg.MaxGroup == 0 {
		return
	}
	var oldest *slot[K, V]
	matching := 0
	for _, s := range c.groups[group] {
		if s.state.Load().has != st.has {
			continue
		}
		if matching++; s != newest && s.flight == nil {
			oldest = older(oldest, s)
		}
	}
	if matching > c.cfg.MaxGroup && oldest != nil {
		c.replace(oldest, &state[V]{})
	}
}

// MakeRoom deletes an entry of m, any one for which keep returns false (nil: for all), if m has
// limit entries or more. It examines a few, so that its cost does not depend on their number, and
// deletes none if all of these are to be kept.
func MakeRoom[K comparable, V any](m map[K]V, limit int, keep func(V) bool) {
	if len(m) < limit {
		return
	}
	seen := 0
	for key, value := range m { // begins anywhere
		if keep == nil || !keep(value) {
			delete(m, key)
			return
		}
		if seen++; seen == sampleSize {
			return
		}
	}
}
