package fleet

import "context"

// Last is a row as [Session.Change] left it.
type Last struct{ row *Row }

// Change replaces the note of a row that needs no lease, as change makes it of the present
// one (nil: none). last, as it was returned before, saves a call if no other environment
// changed the row since; it may be nil. It returns false if the table could not be used, or
// is too slow to be asked for what only helps.
func (s *Session) Change(ctx context.Context, kind Kind, id string, last *Last, change func(note []byte) []byte) (*Last, bool) {
	if s == nil {
		return nil, false
	}
	name := nameRow(s.seal.Load(), kind, id)
	current := (&Row{}).item
	if last != nil && last.row.named(name) {
		current = last.row.item
	}
	for s.spare() {
		key, now := s.seal.Load(), s.f.now()
		row, _ := openRow(key, name, current, now)
		row.report(s.f.count)
		item := sealRow(key, name, state{Until: 1, Note: change(row.Note)}, nil, now)
		old, ok, answered, _ := s.update(ctx, false, item, row.like())
		switch {
		case !answered:
			return nil, false
		case ok:
			return &Last{&Row{item: &item}}, true
		}
		current = old
	}
	return nil, false
}
