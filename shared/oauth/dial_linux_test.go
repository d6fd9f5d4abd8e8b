package oauth_test

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"testing"
	"time"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
)

// deadAddress makes 127.0.0.66 drop what connects to port: its queue of connections is full.
func deadAddress(t *testing.T, port int) netip.Addr {
	t.Helper()
	ip := netip.MustParseAddr("127.0.0.66")
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: ip.As4()}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		connection, err := net.DialTimeout("tcp", netip.AddrPortFrom(ip, uint16(port)).String(), 20*time.Millisecond)
		if err != nil {
			return ip
		}
		t.Cleanup(func() { _ = connection.Close() })
	}
	t.Skip("the queue of connections cannot be filled")
	return ip
}

// TestDeadFirstAddress: the exchange gets a token from the second address of the name in its
// first attempt. The policy holds for every address.
func TestDeadFirstAddress(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{})
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"client_secret_post"}, Secrets: []string{"good"}})
	server := netip.MustParseAddrPort(s.URL()[len("https://"):])
	dead, metadata := deadAddress(t, int(server.Port())), netip.MustParseAddr("169.254.169.254")
	for name, tt := range map[string]struct {
		ips    []netip.Addr
		policy oauth.AddressPolicy
		want   oauth.Reason // 0: a token
	}{
		"dead first":        {[]netip.Addr{dead, server.Addr()}, oauth.AddressPolicy{Private: true}, 0},
		"not allowed first": {[]netip.Addr{metadata, server.Addr()}, oauth.AddressPolicy{Private: true}, 0},
		"not allowed":       {[]netip.Addr{metadata}, oauth.AddressPolicy{Private: true}, oauth.AddressRefused},
		"private":           {[]netip.Addr{dead, server.Addr()}, oauth.AddressPolicy{}, oauth.AddressRefused},
	} {
		tt.policy.Lookup = func(context.Context, string) ([]netip.Addr, error) { return tt.ips, nil }
		client, err := oauth.NewClient(oauth.Config{
			ID: "c", TokenEndpoint: "https://localhost:" + strconv.Itoa(int(server.Port())) + oauthtest.TokenPath,
			RootCAs: s.CAPool(), Addresses: tt.policy, Authenticator: oauth.SecretPost{Secret: oauth.NewSecret("good")},
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = exchanger().Exchange(t.Context(), client, oauth.Request{MaxAttempts: 1})
		client.Close()
		if tt.want == 0 && err != nil || tt.want != 0 && failureOf(t, err).Reason != tt.want {
			t.Errorf("%s: got error %v", name, err)
		}
	}
}
