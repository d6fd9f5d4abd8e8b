package registry

import (
	"net/netip"
	"strings"
	"testing"

	"tokenvendor/shared/oauth"
)

func TestEndpointsRefused(t *testing.T) {
	refused := []string{
		"http://as.example.com/token", "ftp://as.example.com/", "https:///x", "https:h/x", "//h/x", "as.example.com/token",
		"https://user:pw@as.example.com/", "https://accounts.ondemand.com@evil.test/", "https://as.example.com/#f",
		"https://as.example.com:0/", "https://as.example.com:70000/", "https://as.example.com:/", "https://[::1%25lo]/",
		"https://as.example .com/", "https://as.example.com/\t", "https://as.example.com/" + strings.Repeat("a", 4096),
		"https://аs.example.com/", "https://*.example.com/", "https://./",
		"https://localhost/", "https://x.localhost:8443/", "https://LOCALHOST./", "https://127.0.0.1/", "https://127.1/",
		"https://0x7f.1/", "https://2130706433/", "https://127.0.0.1./", "https://0.0.0.0/", "https://[::]/", "https://[::1]/",
		"https://[::ffff:127.0.0.1]/", "https://169.254.169.254/", "https://169.254.170.2/", "https://[fd00:ec2::254]/",
		"https://100.64.0.1/", "https://192.0.0.192/", "https://198.18.0.1/", "https://[64:ff9b::7f00:1]/", "https://[2002:7f00:1::]/",
		"https://10.0.0.1/", "https://192.168.1.1/",
	}
	for _, url := range refused {
		t.Run(url[:min(len(url), 40)], func(t *testing.T) {
			expectProblem(t, native(members{"client_secret": "s", "token_endpoint": url}), "token_endpoint ")
			expectProblem(t, native(members{"client_secret": "s", "issuer": url}), "issuer ")
		})
	}
	private := func(cfg *Config) {
		cfg.Addresses = oauth.AddressPolicy{Private: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("100.64.0.0/16")}}
	}
	for _, url := range []string{"https://localhost:8443/t", "https://127.0.0.1:8443/t", "https://100.64.0.1/t"} {
		if _, err := load(t, native(members{"client_secret": "s", "token_endpoint": url}), private); err != nil {
			t.Errorf("%s with an address policy that allows it: got %v, want no error", url, err)
		}
	}
}

func TestIsSAP(t *testing.T) {
	tests := []struct {
		issuer string
		want   bool
	}{
		{"https://acme.accounts.ondemand.com", true},
		{"https://acme.accounts.ondemand.com/", true},
		{"https://ACME.Accounts.OnDemand.Com", true},
		{"https://acme.accounts.cloud.sap", true},
		{"https://acme.accounts.sapcloud.cn", true},
		{"https://acme.trial-accounts.ondemand.com", true},
		{"https://acme.accounts400.ondemand.com", true},
		{"https://acme.accounts.ondemand.com:8443", true},
		{"https://accounts.ondemand.com", false},
		{"https://.accounts.ondemand.com", false},
		{"https://evilaccounts.ondemand.com", false},
		{"https://x.evilaccounts.ondemand.com", false},
		{"https://x.accounts.ondemand.com.evil.test", false},
		{"https://x.accounts.ondemand.com.", false},
		{"https://x-accounts.ondemand.com", false},
		{"https://accounts.ondemand.com@evil.test", false},
		{"https://evil.test/x.accounts.ondemand.com", false},
		{"https://evil.test?x.accounts.ondemand.com", false},
		{"https://evil.test#.accounts.ondemand.com", false},
		{"https://acme.accounts.ondemand.co", false},
		{"https://acme.accounts.sap", false},
	}
	for _, test := range tests {
		if got := isSAP(test.issuer); got != test.want {
			t.Errorf("%s: got %t, want %t", test.issuer, got, test.want)
		}
	}
}

func TestHostIsCanonical(t *testing.T) {
	for url, want := range map[string]string{
		"https://as.example.com/t":      "as.example.com",
		"https://AS.Example.COM:443/t":  "as.example.com",
		"https://as.example.com./t":     "as.example.com",
		"https://as.example.com.:443/t": "as.example.com",
		"https://as.example.com:8443/t": "as.example.com:8443",
		"https://[2001:DB8::1]/t":       "[2001:db8::1]",
		"https://[2001:db8::1]:444/t":   "[2001:db8::1]:444",
	} {
		client, err := load(t, native(members{"client_secret": "s", "token_endpoint": url}), func(cfg *Config) {
			cfg.Addresses.Prefixes = []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}
		})
		if err != nil {
			t.Errorf("%s: %v", url, err)
		} else if client.IssuerHost != want || client.OAuth.TokenEndpoint() != url {
			t.Errorf("%s: got the host %s and the endpoint %s, want %s and the endpoint as it was given", url, client.IssuerHost, client.OAuth.TokenEndpoint(), want)
		}
	}
}
