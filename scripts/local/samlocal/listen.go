package main

import (
	"crypto/subtle"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
)

// credentials are those of one run: what listens for containers may be reachable from other
// machines.
type credentials struct{ accessKeyID, secret string }

// environment returns the environment of SAM CLI, which hands its AWS credentials and region
// over to the functions.
func (c credentials) environment(region string) []string {
	env := os.Environ()
	kept := env[:0:0]
	for _, v := range env {
		switch name, _, _ := strings.Cut(v, "="); name {
		case "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL":
		default:
			kept = append(kept, v)
		}
	}
	return append(kept, "AWS_ACCESS_KEY_ID="+c.accessKeyID, "AWS_SECRET_ACCESS_KEY="+c.secret, "AWS_REGION="+region, "AWS_DEFAULT_REGION="+region)
}

// listening is what listens for containers.
type listening struct {
	// awsURL and proxyURL are addresses in a container.
	awsURL, proxyURL string
	servers          []*http.Server
}

func (l *listening) close() {
	for _, server := range l.servers {
		_ = server.Close()
	}
}

// listen listens for calls of AWS, and as a proxy for the authorization server.
func (c credentials) listen(d description) (*listening, error) {
	target, err := url.Parse(d.AWSURL)
	if err != nil {
		return nil, err
	}
	issuer, err := url.Parse(d.Issuer)
	if err != nil {
		return nil, err
	}
	l := &listening{}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, ErrorLog: log.New(io.Discard, "", 0)}
	aws, err := l.serve(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), " Credential="+c.accessKeyID+"/") {
			http.Error(w, "not signed with the credentials of this run", http.StatusForbidden)
			return
		}
		forward.ServeHTTP(w, r)
	})
	if err != nil {
		return nil, err
	}
	proxy, err := l.serve(func(w http.ResponseWriter, r *http.Request) { c.connect(w, r, issuer.Host) })
	if err != nil {
		l.close()
		return nil, err
	}
	l.awsURL = "http://" + aws
	l.proxyURL = (&url.URL{Scheme: "http", User: url.UserPassword(c.accessKeyID, c.secret), Host: proxy}).String()
	return l, nil
}

// serve serves a handler where containers reach it, and returns the address in a container.
func (l *listening) serve(handler http.HandlerFunc) (string, error) {
	// Docker Desktop forwards to the loopback; a container engine on Linux has a network of
	// its own, whose address only it knows.
	address := "127.0.0.1:0"
	if runtime.GOOS == "linux" {
		address = ":0"
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = server.Serve(listener) }()
	l.servers = append(l.servers, server)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return net.JoinHostPort(containerHost, port), err
}

// connect answers CONNECT for the authorization server, and nothing else.
func (c credentials) connect(w http.ResponseWriter, r *http.Request, target string) {
	// BasicAuth reads the header Authorization.
	asked := http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}
	user, password, _ := asked.BasicAuth()
	switch {
	case subtle.ConstantTimeCompare([]byte(user+":"+password), []byte(c.accessKeyID+":"+c.secret)) != 1:
		w.Header().Set("Proxy-Authenticate", "Basic")
		http.Error(w, "not the credentials of this run", http.StatusProxyAuthRequired)
		return
	case r.Method != http.MethodConnect || r.Host != target:
		http.Error(w, "only the authorization server of the local stack", http.StatusForbidden)
		return
	}
	server, err := net.DialTimeout("tcp", target, 5*time.Second)
	if err != nil {
		http.Error(w, "the authorization server of the local stack does not answer", http.StatusBadGateway)
		return
	}
	defer func() { _ = server.Close() }()
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = client.Close() }()
	if _, err := client.Write([]byte("HTTP/1.1 200 OK\r\n\r\n")); err != nil {
		return
	}
	var copying sync.WaitGroup
	copying.Go(func() {
		splice(server, io.MultiReader(io.LimitReader(buffered, int64(buffered.Reader.Buffered())), client))
	})
	copying.Go(func() { splice(client, server) })
	copying.Wait()
}

// splice copies until the end of from, and tells to.
func splice(to net.Conn, from io.Reader) {
	_, err := io.Copy(to, from)
	if closer, ok := to.(interface{ CloseWrite() error }); ok && !errors.Is(err, net.ErrClosed) {
		_ = closer.CloseWrite()
	}
}
