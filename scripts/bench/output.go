package main

import "bytes"

// outputScanner is an io.Writer that searches what one process prints. It is Stdout and
// Stderr, so that one goroutine writes to it.
type outputScanner struct {
	checker *checker
	process int    // its index in the checker's stacks
	tail    []byte // the end of what was written before
}

// Write also finds text that comes in two parts.
func (o *outputScanner) Write(text []byte) (int, error) {
	all := append(o.tail, text...)
	stack := []byte("\ngoroutine ")
	if n := bytes.Count(all, stack) - bytes.Count(o.tail, stack); n > 0 {
		o.checker.mu.Lock()
		o.checker.stacks[o.process] += n
		o.checker.mu.Unlock()
	}
	if containsAny(all, forbidden()) {
		o.checker.problem("a secret or a token was printed")
	}
	o.tail = bytes.Clone(all[max(0, len(all)-64):])
	return len(text), nil
}
