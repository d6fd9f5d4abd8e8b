package oauth

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// route is what happens when an address is dialled.
type route struct {
	after time.Duration
	err   error // nil: connected
}

// fakeDialer dials over routes. An address without one never answers.
func fakeDialer(ips []string, routes map[string]route) (d dialer, dialled *[]string) {
	dialled = new([]string)
	var mu sync.Mutex
	d.lookup = func(context.Context, string) (addrs []netip.Addr, err error) {
		for _, ip := range ips {
			addrs = append(addrs, netip.MustParseAddr(ip))
		}
		return addrs, nil
	}
	d.dial = func(ctx context.Context, _, address string) (net.Conn, error) {
		host, _, _ := net.SplitHostPort(address)
		mu.Lock()
		*dialled = append(*dialled, host)
		mu.Unlock()
		r, ok := routes[host]
		if !ok {
			<-ctx.Done()
			return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(r.after):
		}
		if r.err != nil {
			return nil, r.err
		}
		connection, _ := net.Pipe()
		return connection, nil
	}
	return d, dialled
}

func TestDialReachesAnotherAddress(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: errors.New("refused")}
	six := []string{"fd00::1", "fd00::2", "fd00::3", "fd00::4", "fd00::5", "fd00::6", "fd00::7", "fd00::8", "fd00::9", "10.0.0.1"}
	for name, tt := range map[string]struct {
		ips     []string
		routes  map[string]route
		after   time.Duration
		dialled []string
		err     error // in the chain of the error
	}{
		"one":                     {[]string{"10.0.0.1"}, map[string]route{"10.0.0.1": {after: time.Second}}, time.Second, []string{"10.0.0.1"}, nil},
		"first dead":              {[]string{"10.0.0.1", "10.0.0.2"}, map[string]route{"10.0.0.2": {}}, dialDelay, []string{"10.0.0.1", "10.0.0.2"}, nil},
		"first refuses":           {[]string{"10.0.0.1", "10.0.0.2"}, map[string]route{"10.0.0.1": {err: refused}, "10.0.0.2": {}}, 0, []string{"10.0.0.1", "10.0.0.2"}, nil},
		"first slow":              {[]string{"10.0.0.1", "10.0.0.2"}, map[string]route{"10.0.0.1": {after: time.Second}}, time.Second, []string{"10.0.0.1", "10.0.0.2"}, nil},
		"first not allowed":       {[]string{"10.0.0.1", "10.0.0.2"}, map[string]route{"10.0.0.1": {err: errAddress}, "10.0.0.2": {after: time.Second}}, time.Second, []string{"10.0.0.1", "10.0.0.2"}, nil},
		"second not allowed":      {[]string{"10.0.0.1", "10.0.0.2"}, map[string]route{"10.0.0.1": {after: time.Second}, "10.0.0.2": {err: errAddress}}, time.Second, []string{"10.0.0.1", "10.0.0.2"}, nil},
		"no IPv6":                 {six, map[string]route{"10.0.0.1": {}}, dialDelay, []string{"fd00::1", "10.0.0.1"}, nil},
		"IPv4 in IPv6":            {[]string{"::ffff:10.0.0.1"}, map[string]route{"10.0.0.1": {}}, 0, []string{"10.0.0.1"}, nil},
		"all refuse":              {[]string{"10.0.0.1", "10.0.0.2"}, map[string]route{"10.0.0.1": {err: refused}, "10.0.0.2": {err: refused}}, 0, []string{"10.0.0.1", "10.0.0.2"}, refused},
		"none allowed":            {[]string{"10.0.0.1", "10.0.0.2"}, map[string]route{"10.0.0.1": {err: errAddress}, "10.0.0.2": {err: errAddress}}, 0, []string{"10.0.0.1", "10.0.0.2"}, errAddress},
		"not allowed, or refused": {[]string{"10.0.0.1", "10.0.0.2"}, map[string]route{"10.0.0.1": {err: errAddress}, "10.0.0.2": {err: refused}}, 0, []string{"10.0.0.1", "10.0.0.2"}, refused},
		"all dead":                {[]string{"10.0.0.1", "10.0.0.2"}, nil, dialTimeout, []string{"10.0.0.1", "10.0.0.2"}, context.DeadlineExceeded},
		"no address":              {nil, nil, 0, nil, &net.DNSError{}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, dialled := fakeDialer(tt.ips, tt.routes)
				start := time.Now()
				connection, err := d.connect(t.Context(), "tcp", "as.test:443")
				if took := time.Since(start); took != tt.after || !slices.Equal(*dialled, tt.dialled) {
					t.Errorf("got %v, %v after %v, want %v after %v", err, *dialled, took, tt.dialled, tt.after)
				}
				if (connection == nil) != (tt.err != nil) {
					t.Errorf("got error %v", err)
				}
				var dns, wantDNS *net.DNSError
				if tt.err != nil && !errors.Is(err, tt.err) && !(errors.As(err, &dns) && errors.As(tt.err, &wantDNS)) {
					t.Errorf("got error %v, want %v", err, tt.err)
				}
			})
		})
	}
}

// TestDialEndsWithContext: neither a goroutine nor a late connection is left behind.
func TestDialEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := fakeDialer([]string{"10.0.0.1", "10.0.0.2"}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := d.connect(ctx, "tcp", "as.test:443"); err == nil || time.Since(start) != time.Second {
			t.Errorf("got error %v after %v, want one after 1s", err, time.Since(start))
		}
	})
}
