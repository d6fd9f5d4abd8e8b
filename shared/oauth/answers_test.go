package oauth_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
)

// rawServer is an authorization server that answers with given bytes. It counts the secrets
// that it receives.
type rawServer struct {
	*httptest.Server
	client  *oauth.Client
	secrets atomic.Int64
}

const rawSecret = "aB?cD:eF/gH=iJ-canary"

// newRawServer answers every request with answer. If keep, the connection stays open.
func newRawServer(t *testing.T, secret, answer string, keep bool) *rawServer {
	t.Helper()
	w, done := &rawServer{}, make(chan struct{})
	s := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "client_secret=") {
			w.secrets.Add(1)
		}
		connection, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(connection, answer)
		if keep {
			<-done
		}
		_ = connection.Close()
	}))
	t.Cleanup(func() { close(done); s.Close() })
	w.Server = s
	w.client = w.clientWith(t, oauth.SecretPost{Secret: oauth.NewSecret(secret)})
	return w
}

func (w *rawServer) clientWith(t *testing.T, auth oauth.Authenticator) *oauth.Client {
	t.Helper()
	return clientOf(t, w.Server, "", auth, nil)
}

func poolOf(s *httptest.Server) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return pool
}

func clientOf(t *testing.T, s *httptest.Server, method oauth.Method, auth oauth.Authenticator, certificate *tls.Certificate) *oauth.Client {
	t.Helper()
	c, err := oauth.NewClient(oauth.Config{
		ID: "c", TokenEndpoint: s.URL + "/t", RootCAs: poolOf(s), Addresses: private(), Method: method, Authenticator: auth, Certificate: certificate,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func answerOf(status, headers, body string) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\n%sContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, headers, len(body), body)
}

const switchingProtocols = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"

// TestSwitchingProtocolsIsUnusable: after 101 net/http returns the connection as the body,
// and no deadline would end the read.
func TestSwitchingProtocolsIsUnusable(t *testing.T) {
	if e := exchangeError(t, newRawServer(t, rawSecret, switchingProtocols, true).client); e.Reason != oauth.Unusable {
		t.Errorf("got %v, want Unusable", e)
	}
}

// TestCredentialIsNotSentAgain: the server may have counted a failed logon when its answer
// has begun or contains invalid_client in any form.
func TestCredentialIsNotSentAgain(t *testing.T) {
	const code = `{"error":"invalid_client"}`
	for name, tt := range map[string]struct {
		answer string
		failed bool // want FailedLogon
	}{
		"header cut off":      {"HTTP/1.1 401 Unauthorized\r\nContent-Ty", false},
		"malformed header":    {"HTTP/1.1 401 Unauthorized\r\nthis is no header\r\n\r\n", false},
		"negative length":     {"HTTP/1.1 401 Unauthorized\r\nContent-Length: -5\r\n\r\n", false},
		"transfer encoding":   {"HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: gzip\r\n\r\n", false},
		"429":                 {answerOf("429 x", "", code), true},
		"502":                 {answerOf("502 x", "", code), true},
		"503":                 {answerOf("503 x", "", code), true},
		"200":                 {answerOf("200 OK", "", code), true},
		"Latin-1":             {answerOf("400 x", "", "{\"error\":\"invalid_client\",\"error_description\":\"ung\xfcltig\"}"), true},
		"byte order mark":     {answerOf("400 x", "", "\ufeff"+code), true},
		"stray brace":         {answerOf("400 x", "", code+"}"), true},
		"duplicate member":    {answerOf("400 x", "", `{"error":"invalid_client","error_description":"a","error_description":"b"}`), true},
		"body cut off":        {"HTTP/1.1 400 x\r\nContent-Length: 100\r\n\r\n{\"error\":\"invalid_client\",\"err", true},
		"body over 1 MiB":     {answerOf("400 x", "", `{"error":"invalid_client","x":"`+strings.Repeat("x", 1<<20)+`"}`), true},
		"body broke off":      {"HTTP/1.1 400 x\r\nContent-Length: 26\r\n\r\n", true},
		"code cut off":        {"HTTP/1.1 400 x\r\nContent-Length: 100\r\n\r\n{\"error\":\"invalid_cl", true},
		"broken chunk":        {"HTTP/1.1 400 x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + code, true},
		"left encoding":       {answerOf("400 x", "Content-Encoding: gzip\r\n", code), true}, // a gateway has decoded the body
		"other code cut off":  {"HTTP/1.1 400 x\r\nContent-Length: 100\r\n\r\n{\"error\":\"invalid_scope\",\"err", false},
		"404 cut off":         {"HTTP/1.1 404 x\r\nContent-Length: 100\r\n\r\n<html>", false},
		"401 without a body":  {answerOf("401 x", "", ""), true},
		"401 of XSUAA":        {answerOf("401 x", "", `{"error":"unauthorized"}`), true},
		"401 about the scope": {answerOf("401 x", "", `{"error":"invalid_scope"}`), false},
	} {
		w := newRawServer(t, rawSecret, tt.answer, false)
		if e := exchangeError(t, w.client); w.secrets.Load() != 1 || e.FailedLogon() != tt.failed {
			t.Errorf("%s: got %d requests, failed logon %v, want 1, %v: %v", name, w.secrets.Load(), e.FailedLogon(), tt.failed, e)
		}
	}
	// A registered code is valid even if the secret contains it.
	for _, secret := range []string{"client", "invalid", "old-invalid_client-secret"} {
		if e := exchangeError(t, newRawServer(t, secret, answerOf("400 x", "", code), false).client); !e.FailedLogon() {
			t.Errorf("secret %q: got %v, want a failed logon", secret, e)
		}
	}
}

// TestLargeRetryAfterIsLimited: the number of seconds must not overflow a Duration.
func TestLargeRetryAfterIsLimited(t *testing.T) {
	for _, value := range []string{"300", "301", "9300000000", "10000000000", strings.Repeat("9", 30)} {
		w := newRawServer(t, rawSecret, answerOf("429 x", "Retry-After: "+value+"\r\n", "{}"), false)
		if e := exchangeError(t, w.client); e.RetryAfter != oauth.MaxRetryAfter || w.secrets.Load() != 1 {
			t.Errorf("%s: got %v and %d requests, want %v and 1", value, e.RetryAfter, w.secrets.Load(), oauth.MaxRetryAfter)
		}
	}
}

func TestRepeatedSecretsAreRedacted(t *testing.T) {
	for _, description := range []string{
		"bad aB?cD:eF/gH=iJ", "bad aB%3fcD%3aeF%2fgH%3diJ", "100% bad aB%3fcD%3aeF%2fgH%3diJ", "bad aB&#x3F;cD&#x3A;eF&#x2F;gH&#x3D;iJ",
		"bad aB%25253fcD%25253aeF%25252fgH%25253diJ", `bad \\u0061\\u0042\\u003f\\u0063\\u0044\\u003a\\u0065\\u0046`, "bad " + hex.EncodeToString([]byte(rawSecret)), "bad " + base64.RawURLEncoding.EncodeToString([]byte("id:"+rawSecret)),
	} {
		e := exchangeError(t, newRawServer(t, rawSecret, answerOf("400 x", "", fmt.Sprintf(`{"error":"invalid_request","error_description":%q}`, description)), false).client)
		if e.Description != "[redacted]" {
			t.Errorf("got description %q, want [redacted]", e.Description)
		}
	}
	for _, header := range []string{"X-Correlationid", "X-Ids-Id", "X-Vcap-Request-Id"} {
		w := newRawServer(t, "secret-canary-1234", answerOf("401 x", header+": secret-canary-1234\r\n", "{}"), false)
		if e := exchangeError(t, w.client); e.CorrelationID != "" {
			t.Errorf("%s: got correlation id %q, want none: it is the secret", header, e.CorrelationID)
		}
		const body = `{"access_token":"token-canary-1234567890","token_type":"Bearer","expires_in":60}`
		w = newRawServer(t, rawSecret, answerOf("200 OK", header+": canary-1234567890\r\n", body), false)
		token, err := exchanger().Exchange(t.Context(), w.client, oauth.Request{})
		if err != nil || token.CorrelationID() != "" {
			t.Errorf("%s: got error %v or a part of the token as correlation id", header, err)
		}
	}
}

// TestErrorNullIsNoError: some serializers write every member.
func TestErrorNullIsNoError(t *testing.T) {
	w := newRawServer(t, rawSecret, answerOf("200 OK", "", `{"access_token":"t","token_type":"Bearer","expires_in":60,"error":null}`), false)
	if _, err := exchanger().Exchange(t.Context(), w.client, oauth.Request{}); err != nil {
		t.Error(err)
	}
}

// certificateClient returns a client whose certificate the servers of these tests refuse.
func certificateClient(t *testing.T, s *httptest.Server) *oauth.Client {
	t.Helper()
	certificate := selfSigned(t, oauthtest.Leaf{CommonName: "c"}).TLS()
	return clientOf(t, s, oauth.TLSClientAuth, oauth.Certificate{NotAfter: time.Now().Add(time.Hour)}, &certificate)
}

// TestCertificateIsNotSentAgainAfterClose: a server may refuse a certificate by closing the
// connection without an alert.
func TestCertificateIsNotSentAgainAfterClose(t *testing.T) {
	var shown atomic.Int64
	silent := httptest.NewUnstartedServer(http.NotFoundHandler())
	silent.TLS = &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{
			Certificates: silent.TLS.Certificates, MaxVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert,
			VerifyPeerCertificate: func([][]byte, [][]*x509.Certificate) error {
				shown.Add(1)
				_ = hello.Conn.(*net.TCPConn).Close()
				return errors.New("no")
			},
		}, nil
	}}
	silent.StartTLS()
	defer silent.Close()
	if e := exchangeError(t, certificateClient(t, silent)); shown.Load() != 1 {
		t.Errorf("the certificate was sent %d times, want 1: %v", shown.Load(), e)
	}
}

// TestCertificateIsNotSentAgainAfterReset: the reset of a connection may overtake the alert
// by which the server refuses the certificate.
func TestCertificateIsNotSentAgainAfterReset(t *testing.T) {
	var shown atomic.Int64
	strict := httptest.NewUnstartedServer(http.NotFoundHandler())
	strict.Config.ErrorLog = log.New(io.Discard, "", 0)
	strict.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, VerifyPeerCertificate: func([][]byte, [][]*x509.Certificate) error {
		shown.Add(1)
		return errors.New("no")
	}}
	strict.StartTLS()
	defer strict.Close()
	const exchanges = 50
	for range exchanges {
		c := certificateClient(t, strict)
		_, err := exchanger().Exchange(t.Context(), c, oauth.Request{Ask: ask.Ask{Parameters: map[string]string{"x": strings.Repeat("y", 4000)}}})
		if e := failureOf(t, err); e.Reason != oauth.CertificateRefused {
			t.Errorf("got %v, want CertificateRefused", e)
		}
		c.Close()
	}
	if shown.Load() != exchanges {
		t.Errorf("the certificate was sent %d times, want %d", shown.Load(), exchanges)
	}
}

// TestAlertBeforeCertificateIsTemporary: an alert cannot be about a certificate that the
// server did not request.
func TestAlertBeforeCertificateIsTemporary(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("overloaded") }}
	s.StartTLS()
	defer s.Close()
	if e := exchangeError(t, certificateClient(t, s)); e.FailedLogon() || !e.Temporary() {
		t.Errorf("got %v, want a temporary error", e)
	}
}
