package oauth

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"tokenvendor/shared/nowait"
)

// dialDelay is the pause before the next address of a host is tried while the one before it
// has not answered (RFC 8305 section 5).
const dialDelay = 250 * time.Millisecond

// dialFunc is a DialContext of [net/http.Transport].
type dialFunc = nowait.DialFunc

// dialer connects to the first address of a host that answers. Unlike [net.Dialer], which
// gives each address of a family 2 s, it reaches the second one within dialTimeout.
type dialer struct {
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	dial   dialFunc
}

// dialer returns the dialer within the policy.
func (p AddressPolicy) dialer() dialer {
	d := dialer{lookup: p.Lookup, dial: nowait.Dial((&net.Dialer{ControlContext: p.control}).DialContext)}
	if d.lookup == nil {
		d.lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return new(net.Resolver).LookupNetIP(ctx, "ip", host)
		}
	}
	return d
}

// connect is a [dialFunc].
func (d dialer) connect(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	ips, err := d.lookup(ctx, host)
	if err == nil && len(ips) == 0 {
		err = &net.DNSError{Err: "no address", IsNotFound: true}
	}
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	var addresses []string
	for _, ip := range alternate(ips) {
		addresses = append(addresses, net.JoinHostPort(ip.String(), port))
	}
	return d.race(ctx, network, addresses)
}

// alternate lets the two families alternate (RFC 8305 section 4), so that one that has no
// route does not use up the time.
func alternate(ips []netip.Addr) []netip.Addr {
	var next, other, ordered []netip.Addr
	for _, ip := range ips {
		if ip.Unmap().Is4() == ips[0].Unmap().Is4() {
			next = append(next, ip.Unmap())
		} else {
			other = append(other, ip.Unmap())
		}
	}
	for len(next)+len(other) > 0 {
		if len(next) > 0 {
			ordered, next = append(ordered, next[0]), next[1:]
		}
		next, other = other, next
	}
	return ordered
}

// race dials the addresses in order, each one dialDelay after the one before it, or at once
// if that failed. It returns the first connection, when the other dials have ended.
func (d dialer) race(ctx context.Context, network string, addresses []string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	results, running := make(chan result), 0
	defer func() {
		cancel()
		for ; running > 0; running-- {
			if r := <-results; r.err == nil {
				_ = r.conn.Close()
			}
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var failure error
	for running > 0 || len(addresses) > 0 {
		select {
		case r := <-results:
			running--
			if r.err == nil {
				return r.conn, nil
			}
			if failure == nil || errors.Is(failure, errAddress) {
				// That an address is not allowed explains only why all failed.
				failure = r.err
			}
			timer.Reset(0)
		case <-timer.C:
			if len(addresses) > 0 {
				address := addresses[0]
				addresses, running = addresses[1:], running+1
				go func() {
					conn, err := d.dial(ctx, network, address)
					results <- result{conn, err}
				}()
				timer.Reset(dialDelay)
			}
		}
	}
	return nil, failure
}
