package app

import (
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/shared/nowait"
)

// pipe is a writer that can block or run out of space.
type pipe struct {
	mu      sync.Mutex
	text    strings.Builder // guarded by mu
	left    int             // free bytes; negative: unlimited; guarded by mu
	blocked chan struct{}   // writes block until it is closed; nil: they do not block
}

func (p *pipe) Write(b []byte) (int, error) {
	if p.blocked != nil {
		<-p.blocked
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

// TestWriteReturnsWhenPipeIsFull proves that only the first write to a full pipe takes the
// whole timeout, and that lines are written again when the pipe is read.
func TestWriteReturnsWhenPipeIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipe{left: -1, blocked: make(chan struct{})}
		o := newOutput(p)
		start := time.Now()
		if _, err := o.Write([]byte("one\n")); err == nil || time.Since(start) != writeTimeout {
			t.Errorf("got error %v after %v, want one after %v", err, time.Since(start), writeTimeout)
		}
		start = time.Now()
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if _, err := o.Write([]byte("two\n")); err == nil {
					t.Error("got no error for a full pipe, want one")
				}
			})
		}
		all.Wait()
		if d := time.Since(start); d != stuckTimeout {
			t.Errorf("got %v for ten lines, want %v", d, stuckTimeout)
		}
		close(p.blocked)
		synctest.Wait()
		if _, err := o.Write([]byte("three\n")); err != nil {
			t.Error(err)
		}
		if got, want := p.String(), "one\nthree\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestLineBeginsAfterPartialLine proves that after a partial write, the next line begins after
// a line break.
func TestLineBeginsAfterPartialLine(t *testing.T) {
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
			t.Errorf("%d bytes: got %d lines without an error, want %d", n, written, n/4)
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
			t.Errorf("%d bytes: got %q, want %d whole lines and at most one other", n, p.String(), written+1)
		}
	}
}

// TestWriteCopiesLine proves that a caller may reuse its buffer.
func TestWriteCopiesLine(t *testing.T) {
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
	if got, want := p.String(), strings.Repeat("abcdefgh\n", 100); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func BenchmarkOutput(b *testing.B) {
	o, line := newOutput(io.Discard), []byte(strings.Repeat("x", 800))
	b.ReportAllocs()
	for b.Loop() {
		_, _ = o.Write(line)
	}
}

// TestTimeoutsOfWritesAreTheirOwn proves that a write does not end the time-out of another one,
// which uses its memory after it.
func TestTimeoutsOfWritesAreTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipe{left: -1}
		o := newOutput(p)
		for range 3 {
			if _, err := o.Write([]byte("one\n")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(writeTimeout - 1)
		}
		p.blocked = make(chan struct{})
		start := time.Now()
		if _, err := o.Write([]byte("two\n")); err == nil || time.Since(start) != writeTimeout {
			t.Errorf("got error %v after %v, want one after %v", err, time.Since(start), writeTimeout)
		}
		close(p.blocked)
		synctest.Wait()
	})
}

// TestFullPipeIsFoundOut proves that a line is written at once while the pipe takes it, and that
// the timeout applies as soon as it does not.
func TestFullPipeIsFoundOut(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = r.Close(), w.Close() }()
	o := newOutput(w)
	if o.pipe == nil {
		t.Skip("it is only known on Linux whether a pipe is full")
	}
	_ = w.Fd() // a write that waits then waits in the system, as with the log of a function
	line := []byte(strings.Repeat("x", nowait.PipeBuf-1) + "\n")
	lines := 0
	for ; o.pipe.Takes(); lines++ {
		if _, err := o.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := o.Write(line); !errors.Is(err, errOutput) {
		t.Errorf("got %v after %d lines, want %v", err, lines, errOutput)
	}
	if _, err := io.CopyN(io.Discard, r, int64(lines*len(line))); err != nil || lines == 0 {
		t.Fatalf("got %v after %d lines", err, lines)
	}
	for len(o.stuck)+len(o.writing) > 0 {
		runtime.Gosched() // until the overdue line is written
	}
	if _, err := o.Write([]byte("next\n")); err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(r); err != nil || string(rest) != string(line)+"next\n" {
		t.Errorf("got %d bytes, %v, want the overdue line and the next one", len(rest), err)
	}
}

// TestLongLineMayWait proves that a line for which a pipe has not enough room has a time-out, also if the
// pipe takes its beginning.
func TestLongLineMayWait(t *testing.T) {
	for _, test := range []struct {
		name   string
		length int
		broken bool
	}{{"long", nowait.PipeBuf + 1, false}, {"after a part of a line", nowait.PipeBuf, true}} {
		t.Run(test.name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _, _ = w.Close(), r.Close() }()
			o := newOutput(w)
			if o.pipe == nil {
				t.Skip("it is only known on Linux whether a pipe is full")
			}
			_ = w.Fd() // as above
			page, left := make([]byte, nowait.PipeBuf), test.length-nowait.PipeBuf
			for ; o.pipe.Takes(); left += len(page) {
				if _, err := o.pipe.Write(page); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := io.ReadFull(r, page); err != nil {
				t.Fatal(err)
			}
			o.broken = test.broken
			if _, err := o.Write([]byte(strings.Repeat("x", test.length-1) + "\n")); !errors.Is(err, errOutput) {
				t.Errorf("got %v, want %v", err, errOutput)
			}
			if _, err := io.CopyN(io.Discard, r, int64(left)); err != nil {
				t.Fatal(err)
			}
			for len(o.writing) > 0 {
				runtime.Gosched() // until the overdue line is written
			}
		})
	}
}

// TestLineEndsOverdueMark: a write that takes its time-out can end before the mark is set. The next
// line that is written at once removes it, since later ones would have a short time-out otherwise.
func TestLineEndsOverdueMark(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = r.Close(), w.Close() }()
	o := newOutput(w)
	o.stuck <- struct{}{}
	if _, err := o.Write([]byte("one\n")); err != nil || len(o.stuck) > 0 {
		t.Errorf("got %v, overdue %t; want a line and no mark", err, len(o.stuck) > 0)
	}
}
