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
	case u.Hostname() == "" || strings.ContainsAny(u.Hostname(), "%_*\\") || !validPort(u),
		strings.ContainsFunc(u.Hostname(), notURLByte): // net/http would turn escaped Unicode into another host
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
		ip == netip.AddrFrom16([16]byte{0: 0xfd, 2: 0x0e, 3: 0xc2, 14: 0x02, 15: 0x54}) // fd00:ec2::254
}

// specialPrefixes are networks that are not public and have no predicate in netip: shared
// address space, protocol assignments, benchmarking, reserved, NAT64 of a site, 6to4, Teredo.
var specialPrefixes = [...]string{
	"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4",
	"64:ff9b::/32", "2002::/16", "2001::/32",
}

// siteLocal is the network that RFC 4193 has replaced (RFC 3879).
const siteLocal = "fec0::/10"

// translated are the networks whose last 32 bits are the IPv4 address that a packet is sent to:
// IPv4-compatible (RFC 4291 section 2.5.5.1), IPv4-translated (RFC 2765), and NAT64 (RFC 6052).
// The DNS64 of a VPC makes an address of the last one for a server that has IPv4 only.
var translated = [...]string{"::/96", "::ffff:0:0:0/96", "64:ff9b::/96"}

// tunnels are networks whose addresses may lead to the IPv4 address that begins at one of the
// offsets: NAT64 of a site with each length of its prefix (RFC 8215, RFC 6052 section 2.2; the
// byte at 8 is skipped), 6to4 (RFC 3056), and the server of Teredo (RFC 4380). The client of
// Teredo, which is inverted, has no place here, because a metadata service runs no Teredo.
var tunnels = [...]struct {
	prefix  string
	offsets []int
}{
	{"64:ff9b:1::/48", []int{6, 7, 9, 12}},
	{"2002::/16", []int{2}},
	{"2001::/32", []int{4}},
}

func inside(prefix string, ip netip.Addr) bool { return netip.MustParsePrefix(prefix).Contains(ip) }

// destination returns the address that decides about ip: itself, or the IPv4 address that it
// is translated to.
func destination(ip netip.Addr) netip.Addr {
	if ip.Is4() || ip.IsLoopback() || ip.IsUnspecified() || !slices.ContainsFunc(translated[:], func(prefix string) bool { return inside(prefix, ip) }) {
		return ip
	}
	octets := ip.As16()
	return netip.AddrFrom4([4]byte(octets[12:]))
}

// leadsToMetadata reports whether ip may be a metadata service behind a tunnel.
func leadsToMetadata(ip netip.Addr) bool {
	if ip.Is4() {
		return false
	}
	octets := ip.As16()
	for _, tunnel := range tunnels {
		for _, at := range tunnel.offsets {
			ipv4 := octets[at : at+4]
			if at < 8 && at+4 > 8 {
				ipv4 = slices.Concat(octets[at:8], octets[9:at+5])
			}
			if inside(tunnel.prefix, ip) && metadataAddress(netip.AddrFrom4([4]byte(ipv4))) {
				return true
			}
		}
	}
	return false
}

// Allows reports whether a server may have the address ip. An IPv6 address that is translated
// to an IPv4 address is judged by that.
func (p AddressPolicy) Allows(ip netip.Addr) bool {
	if !ip.IsValid() {
		return false
	}
	// IsLoopback is false for ::ffff:127.0.0.1, so unmap first.
	given := ip.Unmap().WithZone("")
	ip = destination(given)
	switch {
	case metadataAddress(ip) || leadsToMetadata(ip) || ip.IsMulticast() || ip.IsUnspecified():
		return false
	case slices.ContainsFunc(p.Prefixes, func(prefix netip.Prefix) bool { return prefix.Contains(ip) || prefix.Contains(given) }):
		return true
	case ip.IsLoopback() || ip.IsPrivate() || inside(siteLocal, ip):
		return p.Private || p.Proxy != nil
	case p.Proxy != nil && ip.Is4():
		return true // An IPv6 address of a special network may stand for one of a metadata service.
	}
	return !slices.ContainsFunc(specialPrefixes[:], func(prefix string) bool { return inside(prefix, ip) })
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
