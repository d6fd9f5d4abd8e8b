package oauth_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
)

// TestRenegotiationSendsCertificate uses a server that requests the client's certificate only
// after it has read the request, as SAP Cloud Identity Services may. Go's server cannot
// renegotiate, so the test runs that of OpenSSL.
func TestRenegotiationSendsCertificate(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed, and Go's server cannot renegotiate")
	}
	certFile, keyFile, _ := writePEM(t)
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	server := startOpenSSL(t, openssl, certFile, keyFile)
	roots := x509.NewCertPool()
	roots.AddCert(pair.Leaf)
	client, err := oauth.NewClient(oauth.Config{
		ID:            "c1",
		TokenEndpoint: "https://" + server.address + "/oauth2/token",
		Method:        oauth.TLSClientAuth,
		Authenticator: oauth.Certificate{NotBefore: pair.Leaf.NotBefore, NotAfter: pair.Leaf.NotAfter},
		Certificate:   &pair,
		RootCAs:       roots,
		Addresses:     private(),
	})
	if err != nil {
		t.Fatal(err)
	}
	// The server prints the first line only if the client sent a certificate.
	go server.answer(`{"access_token":"tok","token_type":"Bearer","expires_in":3600}`, "Accept-Encoding", "read certificate verify", "SSL_do_handshake -> 1")
	token, err := exchanger().Exchange(t.Context(), client, oauth.Request{})
	if err != nil {
		t.Fatal(err)
	}
	if token.AccessToken().Expose() != "tok" {
		t.Error("got another token than the server's")
	}
	if err := <-server.sawCertificate; err != nil {
		t.Error(err)
	}
}

// opensslServer is "openssl s_server", which reads commands from its standard input.
type opensslServer struct {
	address        string
	stdin          io.WriteCloser
	lines          chan string
	sawCertificate chan error
}

func startOpenSSL(t *testing.T, openssl, certFile, keyFile string) *opensslServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	cmd := exec.CommandContext(t.Context(), openssl, "s_server", "-accept", address, "-cert", certFile, "-key", keyFile, "-tls1_2", "-crlf", "-state")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &opensslServer{address: address, stdin: stdin, lines: make(chan string, 1000), sawCertificate: make(chan error, 1)}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	go func() {
		defer close(s.lines)
		for scanner := bufio.NewScanner(output); scanner.Scan(); {
			s.lines <- scanner.Text()
		}
	}()
	if err := s.waitFor("ACCEPT"); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *opensslServer) waitFor(text string) error {
	timeout := time.After(10 * time.Second)
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				return errors.New("openssl ended before it printed " + text)
			}
			if strings.Contains(line, text) {
				return nil
			}
		case <-timeout:
			return errors.New("openssl did not print " + text)
		}
	}
}

// answer waits for a header of the request, requests a certificate by renegotiating ("R"), waits
// for lines of output, and answers. The request's body does not end with a line break.
func (s *opensslServer) answer(body, header string, lines ...string) {
	err := s.waitFor(header)
	if err == nil {
		fmt.Fprintln(s.stdin, "R")
	}
	for _, line := range lines {
		err = errors.Join(err, s.waitFor(line))
	}
	s.sawCertificate <- err
	fmt.Fprintf(s.stdin, "HTTP/1.1 200 OK\nContent-Type: application/json\nContent-Length: %d\n\n%s", len(body), body)
}

// writePEM writes a self-signed certificate for 127.0.0.1 and its key.
func writePEM(t *testing.T) (certFile, keyFile string, certificate *x509.Certificate) {
	t.Helper()
	issued := selfSigned(t, oauthtest.Leaf{CommonName: "loopback", Hosts: []string{"127.0.0.1"}})
	key, err := oauthtest.KeyPEM(issued.Key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, text := range map[string]string{certFile: oauthtest.CertificatePEM(issued.Chain...), keyFile: key} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile, issued.Chain[0]
}
