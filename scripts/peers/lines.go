package main

import (
	"bytes"
	"sync"
)

// maxKept bounds what is kept of a line and of a log, in bytes.
const maxKept = 64 << 10

// lines is an io.Writer that hands on whole lines, without their line breaks, one at a
// time. A line that is too long is handed on in parts.
type lines struct {
	each func(line []byte)

	mu   sync.Mutex
	rest []byte // guarded by mu
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found && len(l.rest) < maxKept {
			return len(p), nil
		}
		l.each(line)
		l.rest = rest
	}
}
