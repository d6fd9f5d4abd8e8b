package oauth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
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

// wire is an authorization server that answers with given bytes, and counts the
// secrets that it is sent.
type wire struct {
	client  *oauth.Client
	secrets atomic.Int64
}

const wireSecret = "aB?cD:eF/gH=iJ-canary"

// newWire answers every request with answer, and keeps the connection open if hold.
func newWire(t *testing.T, secret, answer string, hold bool) *wire {
	t.Helper()
	w, done := &wire{}, make(chan struct{})
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
		if hold {
			<-done
		}
		_ = connection.Close()
	}))
	t.Cleanup(func() { close(done); s.Close() })
	w.client = clientOf(t, s, oauth.ClientSecretPost, oauth.SecretPost{Secret: oauth.NewSecret(secret)}, nil)
	return w
}

func clientOf(t *testing.T, s *httptest.Server, method oauth.Method, auth oauth.Authenticator, certificate *tls.Certificate) *oauth.Client {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	c, err := oauth.NewClient(oauth.Config{
		ID: "c", TokenEndpoint: s.URL + "/t", RootCAs: pool, Addresses: private(), Method: method, Authenticator: auth, Certificate: certificate,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// refused makes an exchange that must fail.
func refused(t *testing.T, c *oauth.Client) *oauth.Error {
	t.Helper()
	_, err := exchanger().Exchange(t.Context(), c, oauth.Request{})
	var e *oauth.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v", err)
	}
	return e
}

func answerOf(status, headers, body string) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\n%sContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, headers, len(body), body)
}

// TestSwitchingProtocols: after 101 net/http hands the connection over, and no
// deadline would end the reading.
func TestSwitchingProtocols(t *testing.T) {
	const answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
	if e := refused(t, newWire(t, wireSecret, answer, true).client); e.Reason != oauth.Unusable {
		t.Errorf("error %v", e)
	}
	stop := make(chan struct{})
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		connection, _, _ := http.NewResponseController(w).Hijack()
		_, _ = io.WriteString(connection, answer)
		<-stop
		_ = connection.Close()
	}))
	defer s.Close()
	defer close(stop)
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := oauth.Discover(ctx, oauth.NewHTTPClient(pool, nil, private()), s.URL); err == nil || ctx.Err() != nil {
		t.Errorf("Discover: %v", err)
	}
}

// TestProofIsSentOnce where the server may have counted it: its answer had begun,
// or says so in whatever form.
func TestProofIsSentOnce(t *testing.T) {
	const code = `{"error":"invalid_client"}`
	for name, tt := range map[string]struct {
		answer string
		failed bool // it is known to be a failed logon
	}{
		"head cut off":        {"HTTP/1.1 401 Unauthorized\r\nContent-Ty", false},
		"line in the head":    {"HTTP/1.1 401 Unauthorized\r\nthis is no header\r\n\r\n", false},
		"negative length":     {"HTTP/1.1 401 Unauthorized\r\nContent-Length: -5\r\n\r\n", false},
		"transfer encoding":   {"HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: gzip\r\n\r\n", false},
		"429":                 {answerOf("429 x", "", code), true},
		"502":                 {answerOf("502 x", "", code), true},
		"503":                 {answerOf("503 x", "", code), true},
		"200":                 {answerOf("200 OK", "", code), true},
		"Latin-1":             {answerOf("400 x", "", "{\"error\":\"invalid_client\",\"error_description\":\"ung\xfcltig\"}"), true},
		"byte order mark":     {answerOf("400 x", "", "\ufeff"+code), true},
		"stray brace":         {answerOf("400 x", "", code+"}"), true},
		"member twice":        {answerOf("400 x", "", `{"error":"invalid_client","error_description":"a","error_description":"b"}`), true},
		"body cut off":        {"HTTP/1.1 400 x\r\nContent-Length: 100\r\n\r\n{\"error\":\"invalid_client\",\"err", true},
		"body over 1 MiB":     {answerOf("400 x", "", `{"error":"invalid_client","x":"`+strings.Repeat("x", 1<<20)+`"}`), true},
		"401 without a body":  {answerOf("401 x", "", ""), true},
		"401 of XSUAA":        {answerOf("401 x", "", `{"error":"unauthorized"}`), true},
		"401 about the scope": {answerOf("401 x", "", `{"error":"invalid_scope"}`), false},
	} {
		w := newWire(t, wireSecret, tt.answer, false)
		if e := refused(t, w.client); w.secrets.Load() != 1 || e.FailedLogon() != tt.failed {
			t.Errorf("%s: sent %d times, failed logon: %v; %v", name, w.secrets.Load(), e.FailedLogon(), e)
		}
	}
	// A code of the standard is one, whatever the secret looks like.
	for _, secret := range []string{"client", "invalid", "old-invalid_client-secret"} {
		if e := refused(t, newWire(t, secret, answerOf("400 x", "", code), false).client); !e.FailedLogon() {
			t.Errorf("with the secret in the code: %v", e)
		}
	}
}

// TestRetryAfterIsClamped before it is multiplied.
func TestRetryAfterIsClamped(t *testing.T) {
	for _, value := range []string{"300", "301", "9300000000", "9999999999"} {
		w := newWire(t, wireSecret, answerOf("429 x", "Retry-After: "+value+"\r\n", "{}"), false)
		if e := refused(t, w.client); e.RetryAfter != oauth.MaxRetryAfter || w.secrets.Load() != 1 {
			t.Errorf("%s: %v, sent %d times", value, e.RetryAfter, w.secrets.Load())
		}
	}
}

// TestEchoesAreSilenced, in whatever dress.
func TestEchoesAreSilenced(t *testing.T) {
	for _, description := range []string{
		"bad aB?cD:eF/gH=iJ", "bad aB%3fcD%3aeF%2fgH%3diJ", "100% bad aB%3fcD%3aeF%2fgH%3diJ", "bad aB&#x3F;cD&#x3A;eF&#x2F;gH&#x3D;iJ",
	} {
		e := refused(t, newWire(t, wireSecret, answerOf("400 x", "", fmt.Sprintf(`{"error":"invalid_request","error_description":%q}`, description)), false).client)
		if e.Description != "[redacted]" {
			t.Errorf("%q came through", e.Description)
		}
	}
	for _, header := range []string{"X-Correlationid", "X-Ids-Id", "X-Vcap-Request-Id"} {
		w := newWire(t, "secret-canary-1234", answerOf("401 x", header+": secret-canary-1234\r\n", "{}"), false)
		if e := refused(t, w.client); e.CorrelationID != "" {
			t.Errorf("%s: the secret would be logged", header)
		}
		const body = `{"access_token":"token-canary-1234567890","token_type":"Bearer","expires_in":60}`
		w = newWire(t, wireSecret, answerOf("200 OK", header+": canary-1234567890\r\n", body), false)
		token, err := exchanger().Exchange(t.Context(), w.client, oauth.Request{})
		if err != nil || token.CorrelationID() != "" {
			t.Errorf("%s: a part of the token would be logged, %v", header, err)
		}
	}
}

// TestErrorNull: some serializers write every member.
func TestErrorNull(t *testing.T) {
	w := newWire(t, wireSecret, answerOf("200 OK", "", `{"access_token":"t","token_type":"Bearer","expires_in":60,"error":null}`), false)
	if _, err := exchanger().Exchange(t.Context(), w.client, oauth.Request{}); err != nil {
		t.Error(err)
	}
}

// certificateClient proves itself by a certificate that no server here likes.
func certificateClient(t *testing.T, s *httptest.Server) *oauth.Client {
	t.Helper()
	issued, err := oauthtest.SelfSigned(oauthtest.Leaf{CommonName: "c"})
	if err != nil {
		t.Fatal(err)
	}
	certificate := issued.TLS()
	return clientOf(t, s, oauth.TLSClientAuth, oauth.Certificate{NotAfter: time.Now().Add(time.Hour)}, &certificate)
}

// TestRefusedCertificateIsShownOnce, also where the refusal looks like a broken
// connection: because the server says nothing, or because its reset overtakes its
// alert.
func TestRefusedCertificateIsShownOnce(t *testing.T) {
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
	if e := refused(t, certificateClient(t, silent)); shown.Load() != 1 {
		t.Errorf("shown %d times: %v", shown.Load(), e)
	}
	var connections atomic.Int64
	strict := httptest.NewUnstartedServer(http.NotFoundHandler())
	strict.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool()}
	strict.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	strict.StartTLS()
	defer strict.Close()
	const exchanges = 50
	for range exchanges {
		c := certificateClient(t, strict)
		_, err := exchanger().Exchange(t.Context(), c, oauth.Request{Ask: ask.Ask{Parameters: map[string]string{"x": strings.Repeat("y", 4000)}}})
		if err == nil {
			t.Fatal("a token")
		}
		c.Close()
	}
	if connections.Load() != exchanges {
		t.Errorf("%d connections for %d exchanges", connections.Load(), exchanges)
	}
}

// TestAlertIsNotAboutTheCertificate that was never asked for.
func TestAlertIsNotAboutTheCertificate(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("overloaded") }}
	s.StartTLS()
	defer s.Close()
	if e := refused(t, certificateClient(t, s)); e.FailedLogon() || !e.Temporary() {
		t.Errorf("error %v", e)
	}
}
