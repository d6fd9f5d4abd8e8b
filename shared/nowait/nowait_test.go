package nowait_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"reflect"
	"runtime"
	"syscall"
	"testing"
	"time"

	"tokenvendor/shared/nowait"
)

// pair returns the two ends of a TCP connection, the first by dial.
func pair(t *testing.T, dial nowait.DialFunc) (near net.Conn, far *net.TCPConn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	near, err = dial(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = near.Close(), accepted.Close() })
	return near, accepted.(*net.TCPConn)
}

func plain(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address)
}

func TestDialWrapsTCPOnly(t *testing.T) {
	near, _ := pair(t, nowait.Dial(plain))
	if _, isPlain := near.(*net.TCPConn); isPlain == (runtime.GOOS == "linux") {
		t.Errorf("got a %T", near)
	}
	other, _ := net.Pipe()
	got, err := nowait.Dial(func(context.Context, string, string) (net.Conn, error) { return other, nil })(t.Context(), "", "")
	if got != other || err != nil {
		t.Errorf("got a %T, %v, want the connection of dial", got, err)
	}
	failure := errors.New("refused")
	if _, err := nowait.Dial(func(context.Context, string, string) (net.Conn, error) { return nil, failure })(t.Context(), "", ""); !errors.Is(err, failure) {
		t.Errorf("got %v, want dial's error", err)
	}
}

// TestConnectionTransfersAll proves that both directions at once transfer more than the socket
// takes, in pieces of all sizes.
func TestConnectionTransfersAll(t *testing.T) {
	near, far := pair(t, nowait.Dial(plain))
	sent := make([]byte, 8<<20)
	for i := range sent {
		sent[i] = byte(rand.Uint32())
	}
	go func() {
		_, _ = io.Copy(far, far) // the other end returns what it gets
		_ = far.CloseWrite()
	}()
	failed := make(chan error, 1)
	go func() {
		for rest := sent; len(rest) > 0; {
			n, err := near.Write(rest[:min(len(rest), rand.IntN(1<<20))])
			if err != nil {
				failed <- err
				return
			}
			rest = rest[n:]
		}
		failed <- nil
	}()
	got := make([]byte, len(sent))
	for rest := got; len(rest) > 0; {
		n, err := near.Read(rest[:min(len(rest), 1+rand.IntN(1<<16))])
		if err != nil || n == 0 {
			t.Fatalf("got %d bytes, %v", n, err)
		}
		rest = rest[n:]
	}
	if err := <-failed; err != nil || !bytes.Equal(got, sent) {
		t.Errorf("got %v, the same bytes: %t", err, bytes.Equal(got, sent))
	}
}

// outcome is what a caller of a connection can tell.
type outcome struct {
	N             int
	EOF           bool
	Closed        bool
	Deadline      bool
	Timeout       bool
	Reset, Broken bool
	Other         bool   // an error of none of these kinds
	Op            string // of a net.OpError
	Addresses     bool   // the net.OpError has both
	Nested        bool   // the net.OpError has another one
}

func outcomeOf(n int, err error) outcome {
	o := outcome{
		N: n, EOF: err == io.EOF, Closed: errors.Is(err, net.ErrClosed), Deadline: errors.Is(err, os.ErrDeadlineExceeded),
		Reset: errors.Is(err, syscall.ECONNRESET), Broken: errors.Is(err, syscall.EPIPE),
	}
	var failure net.Error
	if errors.As(err, &failure) {
		o.Timeout = failure.Timeout()
	}
	var op *net.OpError
	if errors.As(err, &op) {
		o.Op, o.Addresses = op.Op, op.Source != nil && op.Addr != nil
		o.Nested = errors.As(op.Err, new(*net.OpError))
	}
	o.Other = err != nil && !(o.EOF || o.Closed || o.Deadline || o.Reset || o.Broken)
	return o
}

// TestConnectionFailsAsPlainOne proves that callers of a connection get the results that package
// net returns.
func TestConnectionFailsAsPlainOne(t *testing.T) {
	buffer := make([]byte, 16)
	for name, do := range map[string]func(near net.Conn, far *net.TCPConn) outcome{
		"nothing to read":  func(near net.Conn, _ *net.TCPConn) outcome { return outcomeOf(near.Read(nil)) },
		"nothing to write": func(near net.Conn, _ *net.TCPConn) outcome { return outcomeOf(near.Write(nil)) },
		"less than there is": func(near net.Conn, far *net.TCPConn) outcome {
			_, _ = far.Write([]byte("abc"))
			return outcomeOf(near.Read(buffer))
		},
		"end": func(near net.Conn, far *net.TCPConn) outcome {
			_ = far.Close()
			return outcomeOf(near.Read(buffer))
		},
		"reset": func(near net.Conn, far *net.TCPConn) outcome {
			_, _ = far.SetLinger(0), far.Close()
			return outcomeOf(near.Read(buffer))
		},
		"read twice after reset": func(near net.Conn, far *net.TCPConn) outcome {
			_, _ = far.SetLinger(0), far.Close()
			_, _ = near.Read(buffer)
			return outcomeOf(near.Read(buffer))
		},
		"write after reset": func(near net.Conn, far *net.TCPConn) outcome {
			_, _ = far.SetLinger(0), far.Close()
			_, _ = near.Read(buffer)
			return outcomeOf(near.Write(buffer))
		},
		"read of a closed one": func(near net.Conn, _ *net.TCPConn) outcome {
			_ = near.Close()
			return outcomeOf(near.Read(buffer))
		},
		"write to a closed one": func(near net.Conn, _ *net.TCPConn) outcome {
			_ = near.Close()
			return outcomeOf(near.Write(buffer))
		},
		"nothing to read of a closed one": func(near net.Conn, _ *net.TCPConn) outcome {
			_ = near.Close()
			return outcomeOf(near.Read(nil))
		},
		"nothing to write to a closed one": func(near net.Conn, _ *net.TCPConn) outcome {
			_ = near.Close()
			return outcomeOf(near.Write(nil))
		},
		"nothing to write after the deadline": func(near net.Conn, _ *net.TCPConn) outcome {
			_ = near.SetDeadline(time.Unix(1, 0))
			return outcomeOf(near.Write(nil))
		},
		"closed meanwhile": func(near net.Conn, _ *net.TCPConn) outcome {
			time.AfterFunc(10*time.Millisecond, func() { _ = near.Close() })
			return outcomeOf(near.Read(buffer))
		},
		"late answer": func(near net.Conn, _ *net.TCPConn) outcome {
			_ = near.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			return outcomeOf(near.Read(buffer))
		},
		"read after the deadline": func(near net.Conn, far *net.TCPConn) outcome {
			_, _ = far.Write([]byte("abc"))
			_ = near.SetReadDeadline(time.Unix(1, 0))
			return outcomeOf(near.Read(buffer))
		},
		"nobody reads": func(near net.Conn, _ *net.TCPConn) outcome {
			_ = near.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			o := outcomeOf(near.Write(make([]byte, 64<<20)))
			o.N = min(o.N, 1) // how much the sockets take is the system's business
			return o
		},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := pair(t, plain)
			want := do(near, far)
			near, far = pair(t, nowait.Dial(plain))
			if got := do(near, far); !reflect.DeepEqual(got, want) || want.Other {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// TestWritesAreWhole proves that the bytes of two writes at the same time are not mixed.
func TestWritesAreWhole(t *testing.T) {
	near, far := pair(t, nowait.Dial(plain))
	const size, writes = 1 << 20, 4
	for _, b := range []byte("ab") {
		go func() {
			for range writes {
				_, _ = near.Write(bytes.Repeat([]byte{b}, size))
			}
		}()
	}
	block := make([]byte, size)
	for range 2 * writes {
		if _, err := io.ReadFull(far, block); err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(block, block[:1]); n != size {
			t.Fatalf("%d bytes of a write are another one's", size-n)
		}
	}
}

func TestNoPipe(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if p := nowait.NewPipe(file); p != nil || p.Takes() {
		t.Error("a file is taken for a pipe")
	}
	if nowait.NewPipe(new(bytes.Buffer)) != nil {
		t.Error("a buffer is taken for a pipe")
	}
}
