package nowait_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"

	"tokenvendor/shared/nowait"
)

// newPipe returns a pipe in which a write waits in the system, as in the log of a function.
func newPipe(t *testing.T) (*os.File, *nowait.Pipe) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	_ = w.Fd() // makes w blocking
	return r, nowait.NewPipe(w)
}

// TestPipeTakesWhatFits proves that a write after Takes does not wait. The first byte begins a page, so
// that the lines are not those of the pages.
func TestPipeTakesWhatFits(t *testing.T) {
	r, p := newPipe(t)
	if n, err := p.Write([]byte("x")); n != 1 || err != nil {
		t.Fatalf("got %d bytes, %v", n, err)
	}
	line := bytes.Repeat([]byte("x"), nowait.PipeBuf)
	lines := 0
	for ; p.Takes(); lines++ {
		if n, err := p.Write(line); n != len(line) || err != nil {
			t.Fatalf("line %d: got %d bytes, %v", lines, n, err)
		}
	}
	if lines == 0 {
		t.Error("an empty pipe takes no line")
	}
	if _, err := io.ReadFull(r, append(line, 'x')); err != nil || !p.Takes() {
		t.Errorf("got %v, takes a line: %t; want it to take one more", err, p.Takes())
	}
}

func TestPipeWithoutReader(t *testing.T) {
	r, p := newPipe(t)
	if err := r.Close(); err != nil || p.Takes() {
		t.Errorf("got %v, takes a line: %t; want none, as nobody reads it", err, p.Takes())
	}
	if n, err := p.Write([]byte("x")); n != 0 || !errors.Is(err, syscall.EPIPE) {
		t.Errorf("got %d bytes, %v, want EPIPE", n, err)
	}
}
