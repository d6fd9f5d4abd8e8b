package endpoint_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"tokenvendor/scripts/vendctl/endpoint"
	"tokenvendor/shared/client"
)

// pipes is a listener in memory.
type pipes chan net.Conn

// Accept implements [net.Listener], as do the others.
func (p pipes) Accept() (net.Conn, error) {
	conn, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (p pipes) Close() error { return nil }

func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// slowVendor gives a token after a while. It is an [http.RoundTripper].
type slowVendor time.Duration

func (v slowVendor) RoundTrip(*http.Request) (*http.Response, error) {
	time.Sleep(time.Duration(v))
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"access_token":"` + tokenCanary + `","expires_in":600}`))}, nil
}

// exchange sends a request, and its rest 20 seconds later. It returns the status of the answer, and
// how the connection ends and when.
func exchange(listener pipes, request, rest string) (status int, took time.Duration, err error) {
	ours, theirs := net.Pipe()
	listener <- theirs
	begun := time.Now()
	_ = ours.SetDeadline(begun.Add(time.Hour))
	var sending sync.WaitGroup
	sending.Go(func() {
		_, _ = io.WriteString(ours, request)
		time.Sleep(20 * time.Second)
		_, _ = io.WriteString(ours, rest)
	})
	defer sending.Wait()
	defer func() { _ = ours.Close() }()
	reader := bufio.NewReader(ours)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil {
		return 0, time.Since(begun), err
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	_, err = reader.ReadByte()
	return resp.StatusCode, time.Since(begun), err
}

// A client that does not send the body that it has announced loses its connection. A client that
// waits for a slow vendor, or sends slowly through a route, does not.
func TestSlowClientLosesItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens, err := client.New(client.Config{
			URLs: []string{"https://vendor.example/token"}, HTTPClient: &http.Client{Transport: slowVendor(25 * time.Second)},
			AWS: aws.Config{Region: "eu-central-1", Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "AKIA", SecretAccessKey: awsCanary}, nil
			})},
		})
		if err != nil {
			t.Fatal(err)
		}
		route, err := endpoint.ParseRoute("a=billing@http://127.0.0.1:1") // which refuses the connection
		if err != nil {
			t.Fatal(err)
		}
		handler, err := endpoint.New(endpoint.Config{Tokens: tokens, Secret: secretCanary, Routes: []endpoint.Route{route}})
		if err != nil {
			t.Fatal(err)
		}
		listener := make(pipes)
		server := &http.Server{Handler: handler} //nolint:gosec // the handler limits the time
		go func() { _ = server.Serve(listener) }()
		const form = "Content-Type: application/x-www-form-urlencoded\r\n"
		const long = "Content-Length: 60000\r\n\r\nx"
		for name, test := range map[string]struct {
			request, rest string // rest comes later
			status        int
		}{
			"form":       {"POST /token HTTP/1.1\r\nHost: 127.0.0.1\r\n" + form + long, "", 400},
			"other body": {"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n" + long, "", 200},
			"no secret":  {"POST /r/a/x HTTP/1.1\r\nHost: 127.0.0.1\r\n" + long, "", 401},
			"token":      {fmt.Sprintf("POST /token HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n%s", form, len(good().Encode()), good().Encode()), "", 200},
			"route":      {"POST /r/a/~" + secretCanary + "/x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 2\r\n\r\nx", "y", 502},
		} {
			status, took, err := exchange(listener, test.request, test.rest)
			if status != test.status || err != io.EOF || took > time.Minute { //nolint:errorlint // of a pipe
				t.Errorf("%s: got %d, and %v after %v, want %d and an end within a minute", name, status, err, took, test.status)
			}
		}
		close(listener)
		_ = server.Close()
	})
}
