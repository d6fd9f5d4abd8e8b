//go:build !linux

package nowait

import (
	"errors"
	"io"
	"net"
)

// PipeBuf is unused: there is no [Pipe].
const PipeBuf = 0

// Pipe does not exist on this system.
type Pipe struct{}

// NewPipe returns nil.
func NewPipe(io.Writer) *Pipe { return nil }

// Takes returns false.
func (*Pipe) Takes() bool { return false }

// Write returns an error.
func (*Pipe) Write([]byte) (int, error) { return 0, errors.ErrUnsupported }

// WakeMonitor does nothing.
func WakeMonitor() {}

func wrap(c net.Conn) net.Conn { return c }
