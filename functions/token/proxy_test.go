package main

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenvendor/shared/oauth/oauthtest"
)

// proxyCredentials are those of [startProxy].
const proxyCredentials = "cnry-user:cnry-proxy-password"

// startProxy starts a proxy that knows the authorization server as example.com. It returns
// its URL with the credentials.
func (e *env) startProxy(t *testing.T, scheme string) (*oauthtest.ConnectProxy, string, *httptest.Server) {
	t.Helper()
	proxy := &oauthtest.ConnectProxy{Credentials: proxyCredentials, Addresses: map[string]string{"example.com:443": e.server.Listener.Addr().String()}}
	server := httptest.NewUnstartedServer(proxy)
	if scheme == "https" {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return proxy, scheme + "://" + proxyCredentials + "@" + server.Listener.Addr().String(), server
}

// The proxy resolves the name and decides about the address. A failure at the proxy is no
// failed logon.
func TestBinaryConnectsThroughProxy(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		e := newEnv(t)
		// Two servers: clients of one share its connection, which outlives the proxy's listener.
		e.secrets["one"] = e.document(t, map[string]any{"token_endpoint": "https://example.com/oauth2/token"})
		e.secrets["two"] = e.document(t, map[string]any{"token_endpoint": "https://example.org/oauth2/token"})
		e.secrets["metadata"] = e.document(t, map[string]any{"token_endpoint": "https://169.254.169.254/oauth2/token"})
		proxy, url, server := e.startProxy(t, scheme)
		env := []string{"EGRESS_PROXY=" + url, "ALLOW_PRIVATE_ENDPOINTS=false", "LOG_LEVEL=debug"}
		if scheme == "https" {
			file := filepath.Join(t.TempDir(), "ca.pem")
			if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
				t.Fatal(err)
			}
			env = append(env, "SSL_CERT_FILE="+file)
		}
		f := binaryHarness(t, e, 1, env...)
		for range 2 {
			if r := f.invoke(t, invoked{payload: []byte(`{"client":"one"}`)}); r.failed || proxy.Connected() != 1 || proxy.Requests() != 1 {
				t.Errorf("%s: got %s over %d connections of the proxy", scheme, r.payload, proxy.Connected())
			}
		}
		if r := f.invoke(t, invoked{payload: []byte(`{"client":"metadata"}`)}); !strings.Contains(string(r.payload), `"errorType":"server_error"`) || proxy.Requests() != 1 {
			t.Errorf("%s: got %s for a metadata address", scheme, r.payload)
		}
		server.Close()
		r := f.invoke(t, invoked{payload: []byte(`{"client":"two"}`)})
		if !strings.Contains(string(r.payload), `"errorType":"temporarily_unavailable"`) || !strings.Contains(string(r.payload), "the proxy could not be reached") {
			t.Errorf("%s: got %s without the proxy", scheme, r.payload)
		}
		if e.exchanges.Load() != 1 || strings.Contains(string(r.payload), "fuse") {
			t.Errorf("%s: got %d exchanges, %s", scheme, e.exchanges.Load(), r.payload)
		}
		checkCanaries(t, "the answer", string(r.payload))
		checkOutput(t, f)
	}
}

// net/http uses no proxy of the environment for loopback addresses, so that the server has a
// name here, which does not resolve.
func TestBinaryUsesNoProxyOfTheEnvironment(t *testing.T) {
	e := newEnv(t)
	e.secrets["named"] = e.document(t, map[string]any{"token_endpoint": "https://as.invalid/oauth2/token"})
	proxy, url, _ := e.startProxy(t, "http")
	f := binaryHarness(t, e, 1, "HTTPS_PROXY="+url, "HTTP_PROXY="+url, "https_proxy="+url)
	r := f.invoke(t, invoked{payload: []byte(`{"client":"named"}`)})
	if !strings.Contains(string(r.payload), `"errorType":"temporarily_unavailable"`) || proxy.Requests() != 0 {
		t.Errorf("got %s after %d requests to the proxy", r.payload, proxy.Requests())
	}
	checkOutput(t, f)
}
