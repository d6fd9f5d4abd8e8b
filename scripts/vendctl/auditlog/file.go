package auditlog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// File is the log file of a local stack.
type File string

// Read implements [Log].
func (f File) Read(ctx context.Context, q Query, each func(*Line) error) error {
	file, err := os.Open(string(f))
	if err != nil {
		return fmt.Errorf("the stack's log: %w", err)
	}
	defer func() { _ = file.Close() }()
	var lines []*Line
	reader := bufio.NewReaderSize(file, 1<<20)
	for ctx.Err() == nil {
		text, err := reader.ReadBytes('\n')
		// A last line without its end is still being written.
		if err == nil {
			if l := parse(text); l != nil && q.has(l) {
				lines = append(lines, l)
			}
			continue
		}
		if !errors.Is(err, io.EOF) {
			return fmt.Errorf("the stack's log: %w", err)
		}
		break
	}
	// Decisions are written at their end, and have the time of their begin.
	slices.SortStableFunc(lines, func(a, b *Line) int { return a.Time.Compare(b.Time) })
	for _, l := range lines {
		if err := each(l); err != nil {
			return err
		}
	}
	return ctx.Err()
}
