package main

import (
	"bytes"
	"encoding/base64"
)

// secrets is what nobody may be told, as it is and in base64: three ways, by where in
// what was encoded it begins.
func secrets() (all []string) {
	for _, secret := range []string{firstSecret, secondSecret} {
		all = append(all, secret)
		for before := range 3 {
			text := base64.RawStdEncoding.EncodeToString([]byte("??"[:before] + secret))
			all = append(all, text[(8*before+5)/6:8*(before+len(secret))/6])
		}
	}
	return all
}

// never is what no error and no output may have: secrets, the head or the claims of a
// token or an assertion, a page of a server, also as encoding/json writes it.
func never() []string {
	return append(secrets(), "eyJhbGci", "eyJhdWQi", "eyJpc3Mi", "<html", `\u003chtml`)
}

// watcher looks at what one process prints. Stdout and Stderr are both one watcher, and
// so written by one goroutine.
type watcher struct {
	storm   *storm
	process int
	rest    []byte
}

// Write also finds what came in two parts.
func (w *watcher) Write(text []byte) (int, error) {
	all := append(w.rest, text...)
	stack := []byte("\ngoroutine ")
	if n := bytes.Count(all, stack) - bytes.Count(w.rest, stack); n > 0 {
		w.storm.mu.Lock()
		w.storm.stacks[w.process] += n
		w.storm.mu.Unlock()
	}
	for _, secret := range never() {
		if bytes.Contains(all, []byte(secret)) {
			w.storm.problem("a secret or a token was printed")
		}
	}
	w.rest = bytes.Clone(all[max(0, len(all)-64):])
	return len(text), nil
}
