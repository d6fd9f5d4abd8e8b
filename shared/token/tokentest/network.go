package tokentest

import (
	"context"
	"net"
	"sync"
)

// network is a listener in memory. Unlike sockets, its connections let the time of a
// testing/synctest bubble pass while they wait.
type network struct {
	conns chan net.Conn
	done  chan struct{} // closed by Close
	close func()
}

func newNetwork() *network {
	n := &network{conns: make(chan net.Conn), done: make(chan struct{})}
	n.close = sync.OnceFunc(func() { close(n.done) })
	return n
}

// Dial connects to the listener, whatever the address.
func (n *network) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case n.conns <- server:
		return client, nil
	case <-n.done:
		return nil, &net.OpError{Op: "dial", Net: "pipe", Err: net.ErrClosed}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements [net.Listener].
func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.done:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (n *network) Close() error {
	n.close()
	return nil
}

// Addr implements [net.Listener]. The server's own certificate is for this host.
func (n *network) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443} }
