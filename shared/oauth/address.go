package oauth

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
)

// ParseEndpoint parses an endpoint URL: https, with a host, without user information and
// without a fragment (RFC 6749 section 3.2). The error does not contain the URL.
func ParseEndpoint(raw string) (*url.URL, error) {
	if len(raw) > 2048 {
		return nil, errors.New("longer than 2048 bytes")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || strings.ContainsFunc(raw, notURLByte):
		return nil, errors.New("not a URL")
	case u.Scheme != "https":
		return nil, errors.New("not an https URL")
	case u.User != nil:
		return nil, errors.New("must not hold user information")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return nil, errors.New("must not have a fragment")
	case u.Hostname() == "" || strings.ContainsAny(u.Hostname(), "%_*\\") || !validPort(u):
		return nil, errors.New("host or port is not valid")
	}
	return u, nil
}

func notURLByte(r rune) bool { return r <= ' ' || r >= 0x7f }

func validPort(u *url.URL) bool {
	port := u.Port()
	if port == "" {
		// net/http accepts the empty port of "https://host:".
		return !strings.HasSuffix(u.Host, ":")
	}
	n, err := net.LookupPort("tcp", port)
	return err == nil && n > 0
}

// errAddress says that the server's name resolved to an address that is not allowed.
var errAddress = errors.New("address not allowed")

// AddressPolicy decides which addresses an authorization server may have. The zero value
// allows public addresses only, so that the author of a client's document cannot use the
// function to reach its private network. Link-local addresses, which include the cloud's
// metadata services, are never allowed.
type AddressPolicy struct {
	// Private also allows loopback and private addresses (RFC 1918, RFC 4193).
	Private bool
	// Prefixes also allows these networks.
	Prefixes []netip.Prefix
	// Lookup returns the addresses of a name in the order of preference; nil: those of the
	// system's resolver. They are subject to the policy.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// Dial connects in place of the network and is not subject to the policy; nil: TCP to
	// the allowed addresses.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Proxy connects to the servers; nil: there is none. The proxy resolves their names, so
	// that it decides which addresses are allowed. A server whose URL contains the address
	// of a metadata service is still refused. The proxy's own address may be any.
	Proxy *Proxy
}

// metadataAddress reports whether ip belongs to a metadata service. That of EC2 has a
// link-local IPv4 address and an IPv6 address that is not link-local.
func metadataAddress(ip netip.Addr) bool {
	return ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast() ||
		ip == netip.MustParseAddr("fd00:ec2::254")
}

// specialPrefixes are networks that are not public and have no predicate in netip: shared
// address space, protocol assignments, benchmarking, reserved, NAT64, 6to4.
var specialPrefixes = [...]string{
	"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4",
	"64:ff9b::/32", "2002::/16", "2001::/32",
}

// Allows reports whether a server may have the address ip.
func (p AddressPolicy) Allows(ip netip.Addr) bool {
	// IsLoopback is false for ::ffff:127.0.0.1, so unmap first.
	ip = ip.Unmap().WithZone("")
	switch {
	case !ip.IsValid() || metadataAddress(ip) || ip.IsMulticast() || ip.IsUnspecified():
		return false
	case slices.ContainsFunc(p.Prefixes, func(prefix netip.Prefix) bool { return prefix.Contains(ip) }):
		return true
	case p.Proxy != nil && (ip.Is4() || ip.IsLoopback() || ip.IsPrivate()):
		return true // An IPv6 address of a special network may stand for one of a metadata service.
	case ip.IsLoopback() || ip.IsPrivate():
		return p.Private
	}
	return !slices.ContainsFunc(specialPrefixes[:], func(text string) bool { return netip.MustParsePrefix(text).Contains(ip) })
}

// AllowsHost reports whether the host of a URL may be connected to, as far as that is known
// without the name's addresses. These are checked each time they are dialled.
func (p AddressPolicy) AllowsHost(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if ip, err := netip.ParseAddr(host); err == nil {
		return p.Allows(ip)
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return p.Allows(netip.IPv6Loopback())
	}
	// No top-level domain begins with a digit, but some resolvers read 127.1, 2130706433
	// and 0x7f.1 as addresses.
	last := host[strings.LastIndexByte(host, '.')+1:]
	return last != "" && (last[0] < '0' || last[0] > '9')
}

// control checks the resolved address just before it is dialled, so that a DNS answer that
// changes between two lookups cannot bypass the policy.
func (p AddressPolicy) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || !p.Allows(ap.Addr()) {
		return errAddress
	}
	return nil
}
