package oauth

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// errAddress says that a server's name led to an address that must not be
// dialled.
var errAddress = errors.New("address not allowed")

// AddressPolicy says which addresses an authorization server may have. The zero
// value allows public addresses only, so that whoever may write a client's
// document cannot make the function call what only the function can reach.
// Link-local addresses, where the cloud's metadata services live, are never
// allowed.
type AddressPolicy struct {
	// Private allows loopback and private addresses (RFC 1918, RFC 4193) too.
	Private bool
	// Prefixes allows these networks too.
	Prefixes []netip.Prefix
	// Dial connects to an authorization server, whatever its address; nil: the network
	// does, within the policy.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// metadata addresses of the cloud: never an authorization server. The first is
// link-local like the instance metadata service itself.
func metadataAddress(ip netip.Addr) bool {
	return ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast() ||
		ip == netip.AddrFrom16([16]byte{0xfd, 0x00, 0x0e, 0xc2, 14: 0x02, 15: 0x54})
}

// specialPrefixes are not public although netip has no name for them: shared
// address space, protocol assignments, benchmarking, reserved, NAT64, 6to4.
func specialPrefixes() [8]netip.Prefix {
	v4 := func(a, b, c byte, bits int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{a, b, c, 0}), bits)
	}
	v6 := func(a, b, c, d byte, bits int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{a, b, c, d}), bits)
	}
	return [8]netip.Prefix{
		v4(0, 0, 0, 8), v4(100, 64, 0, 10), v4(192, 0, 0, 24), v4(198, 18, 0, 15), v4(240, 0, 0, 4),
		v6(0x00, 0x64, 0xff, 0x9b, 32), v6(0x20, 0x02, 0, 0, 16), v6(0x20, 0x01, 0, 0, 32),
	}
}

// Allows reports whether ip may be dialled.
func (p AddressPolicy) Allows(ip netip.Addr) bool {
	// ::ffff:127.0.0.1 is loopback, but not to IsLoopback of the mapped form.
	ip = ip.Unmap().WithZone("")
	if !ip.IsValid() || metadataAddress(ip) || ip.IsMulticast() || ip.IsUnspecified() {
		return false
	}
	for _, prefix := range p.Prefixes {
		if prefix.Contains(ip) {
			return true
		}
	}
	if ip.IsLoopback() || ip.IsPrivate() {
		return p.Private
	}
	for _, prefix := range specialPrefixes() {
		if prefix.Contains(ip) {
			return false
		}
	}
	return true
}

// control judges the address after the name was resolved, so that a name whose
// answer changes cannot slip through.
func (p AddressPolicy) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || !p.Allows(ap.Addr()) {
		return errAddress
	}
	return nil
}
