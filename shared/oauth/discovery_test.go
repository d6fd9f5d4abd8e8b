package oauth_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
)

func TestDiscoverAcceptsOwnHostOnly(t *testing.T) {
	var change func(map[string]any)
	s := oauthtest.NewServer(t, oauthtest.Config{Metadata: func(m map[string]any) {
		if change != nil {
			change(m)
		}
	}})
	hc := oauth.NewHTTPClient(s.CAPool(), nil, private())
	alias := strings.Replace(s.URL(), "127.0.0.1", "localhost", 1)
	for _, tt := range []struct {
		name   string
		change func(map[string]any)
		ok     bool
	}{
		{"unchanged", nil, true},
		{"alias on the same host", func(m map[string]any) {
			m["mtls_endpoint_aliases"] = map[string]string{"token_endpoint": s.URL() + "/mtls"}
		}, true},
		{"other issuer", func(m map[string]any) { m["issuer"] = s.URL() + "/" }, false},
		{"no issuer", func(m map[string]any) { delete(m, "issuer") }, false},
		{"foreign token endpoint", func(m map[string]any) { m["token_endpoint"] = "https://evil.test/token" }, false},
		{"http token endpoint", func(m map[string]any) { m["token_endpoint"] = "http://127.0.0.1/token" }, false},
		{"http alias", func(m map[string]any) {
			m["mtls_endpoint_aliases"] = map[string]string{"token_endpoint": "http://127.0.0.1/mtls"}
		}, false},
		{"alias on another host", func(m map[string]any) {
			m["mtls_endpoint_aliases"] = map[string]string{"token_endpoint": alias + "/mtls"}
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			change = tt.change
			m, err := oauth.Discover(t.Context(), hc, s.Issuer())
			if (err == nil) != tt.ok {
				t.Fatalf("got error %v, want success: %v", err, tt.ok)
			}
			if err == nil && m.TokenEndpoint != s.TokenEndpoint() {
				t.Errorf("got metadata %+v, want the token endpoint %s", m, s.TokenEndpoint())
			}
			if errors.Is(err, oauth.ErrDiscovery) {
				t.Errorf("got the temporary error %v", err)
			}
		})
	}
}

// TestDiscoverRefusesOtherProtocol answers 101. Without a special case the read of the body
// would not end.
func TestDiscoverRefusesOtherProtocol(t *testing.T) {
	stop := make(chan struct{})
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		connection, _, _ := http.NewResponseController(w).Hijack()
		_, _ = io.WriteString(connection, switchingProtocols)
		<-stop
		_ = connection.Close()
	}))
	defer s.Close()
	defer close(stop)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := oauth.Discover(ctx, oauth.NewHTTPClient(poolOf(s), nil, private()), s.URL); err == nil || ctx.Err() != nil {
		t.Errorf("got error %v, context %v", err, ctx.Err())
	}
}
