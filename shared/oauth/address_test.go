package oauth_test

import (
	"net/netip"
	"testing"

	"tokenvendor/shared/oauth"
)

// addressCase is an address, and whether each of the policies of allows allows it.
type addressCase struct {
	address                  string
	public, private, network bool
}

func allows(t *testing.T, cases []addressCase) {
	t.Helper()
	public := oauth.AddressPolicy{}
	private := oauth.AddressPolicy{Private: true}
	network := oauth.AddressPolicy{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2002::/16")}}
	for _, tt := range cases {
		t.Run(tt.address, func(t *testing.T) {
			ip := netip.MustParseAddr(tt.address)
			for name, c := range map[string]struct {
				policy oauth.AddressPolicy
				want   bool
			}{"public": {public, tt.public}, "private": {private, tt.private}, "network": {network, tt.network}} {
				if got := c.policy.Allows(ip); got != c.want {
					t.Errorf("%s policy: got %v, want %v", name, got, c.want)
				}
			}
		})
	}
}

func TestAddressPolicyAllows(t *testing.T) {
	allows(t, []addressCase{
		{"93.184.216.34", true, true, true},
		{"2606:2800:220:1::1", true, true, true},
		{"127.0.0.1", false, true, false},
		{"127.1.2.3", false, true, false},
		{"::1", false, true, false},
		{"::ffff:127.0.0.1", false, true, false},
		{"10.1.2.3", false, true, true},
		{"10.2.2.3", false, true, false},
		{"192.168.1.1", false, true, false},
		{"172.16.0.1", false, true, false},
		{"fd12:3456::1", false, true, false},
		{"0.0.0.0", false, false, false},
		{"::", false, false, false},
		{"0.1.2.3", false, false, false},
		{"169.254.169.254", false, false, false},
		{"::ffff:169.254.169.254", false, false, false},
		{"169.254.170.2", false, false, false},
		{"fd00:ec2::254", false, false, false},
		{"fe80::1%eth0", false, false, false},
		{"100.64.0.1", false, false, false},
		{"192.0.0.192", false, false, false},
		{"198.18.0.1", false, false, false},
		{"240.0.0.1", false, false, false},
		{"255.255.255.255", false, false, false},
		{"224.0.0.1", false, false, false},
		{"ff02::1", false, false, false},
	})
	if (oauth.AddressPolicy{}).Allows(netip.Addr{}) {
		t.Error("the zero address is allowed")
	}
}

// TestAddressesThatLeadToIPv4: an address that is translated to an IPv4 address is judged by
// that. One that may lead to a metadata service through a tunnel is never allowed.
func TestAddressesThatLeadToIPv4(t *testing.T) {
	allows(t, []addressCase{
		{"64:ff9b::93.184.216.34", true, true, true},
		{"64:ff9b::127.0.0.1", false, true, false},
		{"64:ff9b::10.1.2.3", false, true, true},
		{"64:ff9b::10.2.2.3", false, true, false},
		{"64:ff9b::100.64.0.1", false, false, false},
		{"64:ff9b::169.254.170.2", false, false, false},
		{"64:ff9b::", false, false, false},
		{"64:ff9b::224.0.0.1", false, false, false},
		{"::93.184.216.34", true, true, true},
		{"::192.168.7.1", false, true, false},
		{"::169.254.169.254", false, false, false},
		{"::2", false, false, false},
		{"::ffff:0:93.184.216.34", true, true, true},
		{"::ffff:0:172.16.9.9", false, true, false},
		{"::ffff:0:169.254.169.254", false, false, false},
		{"fec0::1", false, true, false},
		{"feff::1", false, true, false},
		{"64:ff9b:2::a01:203", false, false, false},
		{"64:ff9b:1::10.2.2.3", false, false, true},
		{"64:ff9b:1::169.254.169.254", false, false, false},
		{"64:ff9b:1:a9fe:a9:fe00::", false, false, false},
		{"64:ff9b:1:a9:fe:a9fe::", false, false, false},
		{"64:ff9b:1:0:a9:fea9:fe00:0", false, false, false},
		{"2002:7f00:1::", false, false, true},
		{"2002:a9fe:a9fe::1", false, false, false},
		{"2001:0:a9fe:a9fe::1", false, false, false},
	})
	// The operator may allow a whole network of translated addresses.
	nat64 := oauth.AddressPolicy{Prefixes: []netip.Prefix{netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("2001::/32")}}
	for address, want := range map[string]bool{
		"64:ff9b::10.2.2.3": true, "64:ff9b::169.254.169.254": false, "64:ff9b::0.0.0.0": false, "10.2.2.3": false,
		"2001:0:5db8:d822::1": true, "2001:0:a9fe:a9fe::1": false,
	} {
		if got := nat64.Allows(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: got %v, want %v", address, got, want)
		}
	}
}

// FuzzAllows: no policy allows an address that leads to a metadata service, and the forms of an
// IPv4 address are judged alike.
func FuzzAllows(f *testing.F) {
	f.Add([]byte{10, 1, 2, 3}, true)
	f.Add([]byte{169, 254, 169, 254}, false)
	f.Add([]byte{0, 0, 0, 1}, true)
	f.Fuzz(func(t *testing.T, address []byte, private bool) {
		ipv4, ok := netip.AddrFromSlice(address)
		if !ok || !ipv4.Is4() {
			return
		}
		policy := oauth.AddressPolicy{Private: private, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
		all := oauth.AddressPolicy{Prefixes: []netip.Prefix{netip.MustParsePrefix("::/0"), netip.MustParsePrefix("0.0.0.0/0")}}
		for _, prefix := range []string{"::ffff:", "::ffff:0:", "64:ff9b::", "::"} {
			ip := netip.MustParseAddr(prefix + ipv4.String())
			if ip == netip.IPv6Loopback() || ip == netip.IPv6Unspecified() {
				continue
			}
			if policy.Allows(ip) != policy.Allows(ipv4) {
				t.Errorf("%s: got %v, unlike %s", ip, policy.Allows(ip), ipv4)
			}
			if all.Allows(ip) && ipv4.IsLinkLocalUnicast() {
				t.Errorf("%s is allowed", ip)
			}
		}
	})
}
