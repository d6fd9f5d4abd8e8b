package app

import (
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipe is a writer that blocks while it is held, fails, or takes only so many bytes.
type pipe struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
	left int             // bytes that it takes; negative: any; guarded by mu
	held chan struct{}   // nil: it does not block
}

func (p *pipe) Write(b []byte) (int, error) {
	if p.held != nil {
		<-p.held
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left >= 0 && len(b) > p.left {
		b = b[:p.left]
		p.text.Write(b)
		p.left = 0
		return len(b), errors.New("closed")
	}
	if p.left >= 0 {
		p.left -= len(b)
	}
	return p.text.Write(b)
}

func (p *pipe) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// TestR74Blocked: a pipe that nobody reads costs a second once, then next to nothing,
// and is used again when somebody reads.
func TestR74Blocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipe{left: -1, held: make(chan struct{})}
		o := newOutput(p)
		start := time.Now()
		if _, err := o.Write([]byte("one\n")); err == nil || time.Since(start) != writePatience {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		start = time.Now()
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if _, err := o.Write([]byte("two\n")); err == nil {
					t.Error("a line was taken by a pipe that is full")
				}
			})
		}
		all.Wait()
		if d := time.Since(start); d != stuckPatience {
			t.Errorf("ten lines waited %v", d)
		}
		close(p.held)
		synctest.Wait()
		if _, err := o.Write([]byte("three\n")); err != nil {
			t.Error(err)
		}
		if got := p.String(); got != "one\nthree\n" {
			t.Errorf("got %q", got)
		}
	})
}

// TestHalfLines: after half a line the next one begins on its own, at whatever byte it
// broke.
func TestHalfLines(t *testing.T) {
	for n := range 12 {
		p := &pipe{left: n}
		o := newOutput(p)
		written := 0
		for range 3 {
			if _, err := o.Write([]byte("abc\n")); err == nil {
				written++
			}
		}
		if written != n/4 {
			t.Errorf("with %d bytes %d lines were taken", n, written)
		}
		p.left = -1
		if _, err := o.Write([]byte("abc\n")); err != nil {
			t.Error(err)
		}
		lines := strings.Split(strings.TrimSuffix(p.String(), "\n"), "\n")
		whole := 0
		for _, line := range lines {
			if line == "abc" {
				whole++
			}
		}
		if whole < written+1 || len(lines) > written+2 {
			t.Errorf("with %d bytes: %q", n, p.String())
		}
	}
}

// TestLinesAreCopied: whoever wrote may use its bytes again.
func TestLinesAreCopied(t *testing.T) {
	p := &pipe{left: -1}
	o := newOutput(p)
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			line := []byte("abcdefgh\n")
			_, _ = o.Write(line)
			clear(line)
		})
	}
	all.Wait()
	if got := p.String(); got != strings.Repeat("abcdefgh\n", 100) {
		t.Errorf("got %q", got)
	}
}

func BenchmarkOutput(b *testing.B) {
	o, line := newOutput(io.Discard), []byte(strings.Repeat("x", 800))
	b.ReportAllocs()
	for b.Loop() {
		_, _ = o.Write(line)
	}
}
