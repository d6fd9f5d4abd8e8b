package fleet

import (
	"sync"
	"time"
)

// maxRemembered bounds the memory; asks and documents name the rows.
const maxRemembered = 4096

// remembered is what an environment keeps of the newest state of a row that it saw.
type remembered struct {
	// generation and pointed are those of the row and of its pointer, see [state].
	generation, pointed int64
	// expires is when DynamoDB may delete the row, in Unix seconds.
	expires int64
	// content is what the row guards.
	content state
}

// active reports whether the row keeps the work from being tried at a time.
func (r *remembered) active(now time.Time) bool {
	return r.content.Failures > 0 && now.UnixMilli() < r.content.Until
}

// memory tells when rows of the table were deleted before their time, or replaced by older
// ones. An attacker that can write the table can do that, but cannot seal a row. It is safe
// for concurrent use.
type memory struct {
	mu   sync.Mutex
	rows map[string]remembered // by name; guarded by mu
}

func (m *memory) of(name string) (remembered, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known, ok := m.rows[name]
	return known, ok
}

// keep remembers a row.
func (m *memory) keep(name string, row remembered, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.rows[name]; !known && len(m.rows) >= maxRemembered {
		m.forget(now)
	}
	if m.rows == nil {
		m.rows = make(map[string]remembered)
	}
	m.rows[name] = row
}

// forget makes room: it drops what the table may have deleted, or else rows that guard
// nothing, or else any row. The caller has the lock.
func (m *memory) forget(now time.Time) {
	for _, drop := range [...]func(*remembered) bool{
		func(r *remembered) bool { return r.expires <= now.Unix() },
		func(r *remembered) bool { return !r.active(now) },
		func(*remembered) bool { return true },
	} {
		for name, row := range m.rows {
			if len(m.rows) >= maxRemembered*3/4 && drop(&row) {
				delete(m.rows, name)
			}
		}
	}
}

// check remembers a row, and returns whether it is sound. A row older than one that was seen
// before is not. Row.lost then says that the table lost the newer one.
func (m *memory) check(name string, row *Row, sound bool, now time.Time) bool {
	known, ok := m.of(name)
	switch {
	case row.absent():
		row.lost = ok && now.Unix() < known.expires
		return sound
	case row.foreign:
		return sound
	}
	if ok && row.pointed < known.pointed && row.pointer != "" {
		row.pointer, row.lost, sound = "", true, sound && row.Leased
	}
	// A lease is taken without a look at the row, so that its generation may be lower.
	if ok && !row.Leased && row.generation < known.generation {
		row.lost, sound = true, false
	}
	if sound && !row.lost {
		m.keep(name, row.remembered(known), now)
	}
	return sound
}

// remembered returns what is kept of the row after known.
func (r *Row) remembered(known remembered) remembered {
	known.expires = max(known.expires, r.expires())
	known.pointed = max(known.pointed, r.pointed)
	if !r.Leased {
		known.generation, known.expires = r.generation, r.expires()
		known.content = state{Until: r.Until.UnixMilli(), Failures: r.Failures, Note: r.Note}
	}
	return known
}

// guarded returns the row as it was seen last, and whether it keeps the work from being tried.
func (m *memory) guarded(name string, now time.Time) (row *Row, active bool) {
	known, ok := m.of(name)
	return rowOf(known.content, known.expires), ok && known.active(now)
}

// next returns the generation of a write of the row after one that was read.
func (m *memory) next(name string, read int64, now time.Time) int64 {
	known, _ := m.of(name)
	return max(read+1, known.generation+1, now.UnixMilli())
}
