package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"tokenvendor/scripts/local/cloudwatch"
)

// logFile is the log of the functions and the access log of the API, one JSON object a line.
// It is safe for concurrent use.
type logFile struct {
	path string
	mu   sync.Mutex
	file *os.File  // guarded by mu
	copy io.Writer // gets each line, too; nil: none

	// blocked is held while the log takes no line of the functions; see [faults].
	blocked sync.RWMutex
}

// functionLog is the log as one of the functions writes it.
type functionLog struct {
	stack *stack
	group string
}

func (l functionLog) Write(p []byte) (int, error) {
	s := l.stack
	s.log.blocked.RLock()
	defer s.log.blocked.RUnlock()
	if s.faults.dropped.Load() {
		return len(p), nil // Lambda tells nobody
	}
	s.meter.Add("AWS/Logs", "IncomingLogEvents", float64(bytes.Count(p, []byte("\n"))), cloudwatch.Dimension{Name: "LogGroupName", Value: l.group})
	return s.log.Write(p)
}

// startLog opens the log in the directory of the stack, or in the one that keeps the state.
func (s *stack) startLog() error {
	directory := s.dir.Path()
	if s.keep != "" {
		directory = s.keep
		if err := os.MkdirAll(directory, 0o700); err != nil {
			return err
		}
	}
	path, err := filepath.Abs(filepath.Join(directory, "log.jsonl"))
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) // #nosec G304 -- in a directory of the caller
	if err != nil {
		return err
	}
	s.log = &logFile{path: path, file: file, copy: s.verbose}
	s.atClose(file.Close)
	_, _ = fmt.Fprintf(s.out, "log: %s\n", path)
	return nil
}

func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.copy != nil {
		_, _ = l.copy.Write(p)
	}
	return l.file.Write(p)
}

// show prints the last lines of the log after a failed start, because the log is deleted with
// the stack's directory.
func (l *logFile) show(out io.Writer) error {
	const lines = 20
	if l == nil || l.copy != nil {
		return nil
	}
	text, err := os.ReadFile(l.path)
	if err != nil || len(text) == 0 {
		return err
	}
	all := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	_, err = fmt.Fprintf(out, "the end of the log:\n%s\n", bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
	return err
}
