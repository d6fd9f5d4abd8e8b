package oauth_test

import (
	"net/netip"
	"testing"

	"tokenvendor/shared/oauth"
)

func TestAddressPolicyAllows(t *testing.T) {
	public := oauth.AddressPolicy{}
	private := oauth.AddressPolicy{Private: true}
	network := oauth.AddressPolicy{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("169.254.0.0/16")}}
	for _, tt := range []struct {
		address                  string
		public, private, network bool
	}{
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
		{"64:ff9b::7f00:1", false, false, false},
		{"2002:7f00:1::", false, false, false},
	} {
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
	if public.Allows(netip.Addr{}) {
		t.Error("the zero address is allowed")
	}
}
