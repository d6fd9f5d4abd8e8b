// Package nowait makes system calls that cannot wait, without Go's scheduler. For other system calls
// the scheduler prepares for a long wait: if the process was idle, it wakes up its monitor thread,
// which then runs beside the request. That takes a third of the time of a hit, and a quarter of the
// CPU time of a miss.
//
// The sockets of package net are non-blocking, so that read and write do not wait; package net waits
// until they are ready. A pipe is asked first whether it takes a line.
//
// The monitor is needed while a goroutine computes for more than 10 ms: it interrupts the goroutine, so
// that timers and other goroutines are served. A sleeping monitor wakes up for the timer that was next
// when it fell asleep, and not for a deadline that was set later. Before a long computation, call
// [WakeMonitor].
//
// Only Linux has these calls. On other systems the package changes nothing.
package nowait

import (
	"context"
	"net"
)

// DialFunc is a DialContext of [net/http.Transport].
type DialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// Dial returns a function that connects as dial does. The TCP connections that it returns read and
// write by system calls that the scheduler does not know of; otherwise they are those of dial.
func Dial(dial DialFunc) DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return wrap(c), nil
	}
}
