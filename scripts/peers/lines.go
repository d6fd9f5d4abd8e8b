package main

import (
	"bytes"
	"sync"
)

// maxKept bounds what is kept of a line and of a log, in bytes.
const maxKept = 64 << 10

// lineWriter is an io.Writer that calls each for every line, without its line break, one
// at a time. It splits a line that is longer than maxKept.
type lineWriter struct {
	each func(line []byte)

	mu   sync.Mutex
	tail []byte // the line that is not complete yet; guarded by mu
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tail = append(w.tail, p...)
	for {
		line, after, found := bytes.Cut(w.tail, []byte("\n"))
		if !found && len(w.tail) < maxKept {
			return len(p), nil
		}
		w.each(line)
		w.tail = after
	}
}
