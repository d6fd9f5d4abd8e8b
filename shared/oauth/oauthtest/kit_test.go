package oauthtest_test

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"tokenvendor/shared/oauth/oauthtest"
)

// These tests use net/http and go-jose, and not package oauth, which the server tests.

const awkward = ": / + % space & = ü"

type answer struct {
	status int
	body   map[string]any
}

func post(t *testing.T, s *oauthtest.Server, certificate *tls.Certificate, basic string, form ...string) answer {
	t.Helper()
	values := url.Values{"grant_type": {"client_credentials"}}
	for i := 0; i < len(form); i += 2 {
		values[form[i]] = append(values[form[i]], form[i+1])
	}
	config := &tls.Config{RootCAs: s.CAPool()}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.TokenEndpoint(), strings.NewReader(values.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if basic != "" {
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(basic)))
	}
	response, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	a := answer{status: response.StatusCode}
	body, _ := io.ReadAll(response.Body)
	_ = json.Unmarshal(body, &a.body)
	return a
}

func (a answer) want(t *testing.T, name string, status int, code any) {
	t.Helper()
	if a.status != status || a.body["error"] != code {
		t.Errorf("%s: got %d %v, want %d %v", name, a.status, a.body["error"], status, code)
	}
}
