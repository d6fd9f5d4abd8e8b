package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"tokenvendor/scripts/vendctl/auditlog"
)

// progressInterval is the time between two changes of the progress.
const progressInterval = 100 * time.Millisecond

// progress shows on a terminal how far a long operation is. A nil one shows nothing.
type progress struct {
	out   io.Writer
	shown bool
	last  time.Time
}

// progress returns the progress of a command; nil: standard error is no terminal, or the user wants
// results only.
func (a *access) progress(cmd *cobra.Command) *progress {
	if out := cmd.ErrOrStderr(); isTerminal(out) && !a.quiet && os.Getenv("TERM") != "dumb" {
		return &progress{out: out}
	}
	return nil
}

// show replaces the text that is shown, unless it is too new.
func (p *progress) show(format string, values ...any) {
	if p == nil || time.Since(p.last) < progressInterval {
		return
	}
	p.shown, p.last = true, time.Now()
	_, _ = fmt.Fprintf(p.out, "\r"+format+"\x1b[K", values...)
}

// clear removes the text, so that something else can be printed.
func (p *progress) clear() {
	if p == nil || !p.shown {
		return
	}
	p.shown = false
	_, _ = io.WriteString(p.out, "\r\x1b[K")
}

// watchedLog is an audit log that shows how much of it is read.
type watchedLog struct {
	auditlog.Log
	progress *progress
	part     float64 // of the time; 0: it is not known
	lines    int
}

// Read implements [auditlog.Log].
func (l *watchedLog) Read(ctx context.Context, q auditlog.Query, each func(*auditlog.Line) error) error {
	l.part, l.lines = 0, 0
	l.show()
	defer l.progress.clear()
	return l.Log.Read(ctx, q, func(line *auditlog.Line) error {
		l.lines++
		l.show()
		return each(line)
	})
}

func (l *watchedLog) show() {
	if l.part > 0 {
		l.progress.show("reading the log: %.0f %%, %d lines", 100*l.part, l.lines)
		return
	}
	l.progress.show("reading the log: %d lines", l.lines)
}
