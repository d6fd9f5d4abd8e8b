package main

import (
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// maxLines is how many lines wait for a reader that stalls.
	maxLines = 1024
	// lastLinesTime is how long the lines that wait are written at the end.
	lastLinesTime = time.Second
)

// lineQueue is an [io.Writer] that blocks nobody if the reader of a log stalls. Each Write is one
// line, which is written whole or dropped. It is safe for concurrent use.
type lineQueue struct {
	to      io.Writer
	lines   chan []byte // nil: the last one
	dropped atomic.Uint64
	ended   chan struct{} // closed after the last line
	torn    bool          // to has the beginning of a line; of write only
}

func newLineQueue(to io.Writer) *lineQueue {
	q := &lineQueue{to: to, lines: make(chan []byte, maxLines), ended: make(chan struct{})}
	go q.run()
	return q
}

// Write implements [io.Writer]. It has no error: a line that is dropped is counted.
func (q *lineQueue) Write(line []byte) (int, error) {
	select {
	case q.lines <- slices.Clone(line):
	default:
		q.dropped.Add(1)
	}
	return len(line), nil
}

// run writes the lines, and before the next one how many were dropped.
func (q *lineQueue) run() {
	defer close(q.ended)
	for line := range q.lines {
		if n := q.dropped.Swap(0); n > 0 && !q.write(droppedLine(n)) {
			q.dropped.Add(n)
		}
		if line == nil {
			return
		}
		if !q.write(line) {
			q.dropped.Add(1)
		}
	}
}

// write reports whether a line was written. A full disk takes a part of it.
func (q *lineQueue) write(line []byte) bool {
	if q.torn {
		line = append([]byte("\n"), line...)
	}
	n, err := q.to.Write(line)
	if n > 0 {
		q.torn = err != nil
	}
	return err == nil
}

func droppedLine(n uint64) []byte {
	return fmt.Appendf(nil, "{\"time\":%q,\"type\":\"dropped\",\"lines\":%d}\n", time.Now().UTC().Format(time.RFC3339Nano), n)
}

// close waits until the lines are written, but no longer than lastLinesTime. Later lines are lost.
func (q *lineQueue) close() {
	late := time.After(lastLinesTime)
	select {
	case q.lines <- nil:
	case <-late:
		return
	}
	select {
	case <-q.ended:
	case <-late:
	}
}
