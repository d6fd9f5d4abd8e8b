package nowait

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// conn is a TCP connection. Package net waits until the socket is ready.
type conn struct {
	net.Conn
	in, out direction
}

// direction is one direction of a connection.
type direction struct {
	name  string                            // of the system call, and of the operation in errors
	ready func(func(fd uintptr) bool) error // calls a function, and again when the socket is ready, until it returns true
	call  func(fd int, p []byte) (int, syscall.Errno)
	all   bool                  // all bytes must be transferred
	step  func(fd uintptr) bool // transfers once; in a field because each new one would be an allocation

	mu      sync.Mutex
	left    []byte        // guarded by mu
	n       int           // bytes so far; guarded by mu
	failure syscall.Errno // guarded by mu
}

// wrap returns c itself if it is no TCP connection or is closed.
func wrap(c net.Conn) net.Conn {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return c
	}
	w := &conn{Conn: tcp}
	w.in = direction{name: "read", ready: raw.Read, call: read}
	w.out = direction{name: "write", ready: raw.Write, call: write, all: true}
	w.in.step, w.out.step = w.in.transfer, w.out.transfer
	return w
}

// Read implements [net.Conn].
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.in.run(p)
	if n == 0 && err == nil && len(p) > 0 {
		return 0, io.EOF
	}
	return n, c.named(err, c.in.name)
}

// Write implements [net.Conn].
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.out.run(p)
	return n, c.named(err, c.out.name)
}

// named returns an error as package net returns it for an operation.
func (c *conn) named(err error, operation string) error {
	var op *net.OpError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &op):
		err = op.Err // of the poller, whose operation is "raw-read" or "raw-write"
	}
	return &net.OpError{Op: operation, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

func (d *direction) run(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left, d.n, d.failure = p, 0, 0
	err := d.ready(d.step)
	d.left = nil
	if d.failure != 0 {
		err = os.NewSyscallError(d.name, d.failure)
	}
	return d.n, err
}

// transfer returns false if the socket is not ready. The caller must hold mu.
func (d *direction) transfer(fd uintptr) bool {
	for {
		n, failure := d.call(int(fd), d.left)
		switch failure {
		case 0:
			d.n, d.left = d.n+n, d.left[n:]
			if !d.all || len(d.left) == 0 {
				return true
			}
		case syscall.EAGAIN:
			return false
		case syscall.EINTR:
		default:
			d.failure = failure
			return true
		}
	}
}
