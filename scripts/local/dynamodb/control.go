package dynamodb

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// AddTable makes a table with a hash key of type S, for those who need no client
// to have one. ttl is the attribute with the time at which an item ends; empty:
// items don't.
func (s *Server) AddTable(name, key, ttl string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !goodName(name) || key == "" || s.tables[name] != nil {
		return fmt.Errorf("dynamodb: no table can be added with name %q and key %q", name, key)
	}
	t := s.newTable(name, attribute{key, "S"})
	t.ttl = ttl
	s.tables[name] = t
	return nil
}

// Items returns copies of a table's items, in the order of their keys; nil if
// there is no such table. The values are not to be written to.
func (s *Server) Items(table string) []Item {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[table]
	if t == nil {
		return nil
	}
	items, list := t.items(), []Item{}
	for _, key := range slices.Sorted(maps.Keys(items)) {
		list = append(list, maps.Clone(items[key]))
	}
	return list
}

// Put replaces or adds an item as it is, past all that the API checks: what came
// from another version of a program, or was forged. It fails only where the item
// could not be found again: without a table, or without a key of its type.
func (s *Server) Put(table string, item Item) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[table]
	if t == nil {
		return fmt.Errorf("dynamodb: no table %q", table)
	}
	key, failure := t.keyIn(item)
	if failure != nil {
		return failure
	}
	item = maps.Clone(item)
	t.rows[key] = row{item: item, before: item}
	return nil
}

// SetStale makes reads that don't ask for ConsistentRead see each item as it was
// before it was written last, as at AWS they may for a moment.
func (s *Server) SetStale(stale bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stale = stale
}

// maxAge is how long ago an item may have ended for TTL to delete it
// (time-to-live-ttl-before-you-start.html).
const maxAge = 5 * 365 * 24 * time.Hour

// Sweep deletes the items whose time to live has passed, and returns how many it
// deleted. Nothing else does: AWS may take days to, so that all readers must
// expect items that have ended.
func (s *Server) Sweep() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	deleted, now := 0, s.cfg.Now()
	for _, t := range s.tables {
		for key, item := range t.items() {
			end, ok := ends(item[t.ttl])
			if t.ttl != "" && ok && end.Before(now) && now.Sub(end) < maxAge {
				t.put(key, nil)
				deleted++
			}
		}
	}
	return deleted
}

// ends reads a TTL attribute, epoch seconds; what is of another type, or out of
// range, never ends.
func ends(v Value) (end time.Time, ok bool) {
	if v.Type != "N" {
		return time.Time{}, false
	}
	n, failure := parseNumber(v.Text)
	if failure != nil {
		return time.Time{}, false
	}
	whole, _, _ := strings.Cut(n.String(), ".")
	seconds, err := strconv.ParseInt(whole, 10, 40) // more would not be a time that Go knows
	return time.Unix(seconds, 0), err == nil && seconds >= 0
}
