package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

const (
	configName = "config.json"
	// readyTime is how long a server may take to listen, stopTime how long it may take to
	// end before it is killed.
	readyTime = 30 * time.Second
	stopTime  = 5 * time.Second
)

// tally counts the token requests of one client in a server's output.
type tally struct{ requests, granted, failedLogons int }

// server is the process of a peer.
type server struct {
	*peer
	cmd   *exec.Cmd
	ready chan struct{} // closed by the line that Ready matches
	done  chan struct{} // closed when the process has ended and all its output is read
	stop  func()        // ends it and its children and waits for done; may be called twice

	mu      sync.Mutex
	listens bool             // ready is closed; guarded by mu, as what follows
	tallies map[string]tally // by client_id
	failed  bool             // Failure matched
	log     []byte           // the end of the output
}

// start runs the server and waits until it listens.
func (p *peer) start(ctx context.Context, e *env, clients []map[string]any) (*server, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	s := &server{peer: p.fillIn(port, e.dir), ready: make(chan struct{}), done: make(chan struct{}), tallies: make(map[string]tally)}
	if err := e.writeConfig(port, s.Issuer, clients); err != nil {
		return nil, err
	}
	s.cmd = exec.CommandContext(ctx, s.Command[0], s.Command[1:]...)
	s.cmd.Dir = s.dir
	ownGroup(s.cmd)
	s.cmd.Cancel = func() error { killGroup(s.cmd); return nil }
	s.cmd.WaitDelay = stopTime
	output := &lineWriter{each: s.readLine}
	s.cmd.Stdout, s.cmd.Stderr = output, output
	stdin, err := s.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(s.done)
		_ = s.cmd.Wait() // the exit status does not matter
	}()
	s.stop = sync.OnceFunc(func() {
		_ = stdin.Close()
		terminateGroup(s.cmd)
		select {
		case <-s.done:
		case <-time.After(stopTime):
		}
		killGroup(s.cmd)
		<-s.done
	})
	if err := s.wait(ctx, e); err != nil {
		s.stop()
		return s, err
	}
	return s, nil
}

// freePort returns an unused port of loopback.
func freePort(ctx context.Context) (int, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	return port, listener.Close()
}

// writeConfig writes the files of {config} and {dir}; see peer.
func (e *env) writeConfig(port int, issuer string, clients []map[string]any) error {
	key, err := oauthtest.KeyPEM(e.server.Key)
	if err != nil {
		return err
	}
	certificate, ca := oauthtest.CertificatePEM(e.server.Chain...), oauthtest.CertificatePEM(e.ca.Certificate)
	config, err := json.Marshal(map[string]any{
		"port": port, "issuer": issuer, "resource": resource, "clients": clients,
		"tls": map[string]string{"key": key, "certificate": certificate, "client_ca": ca},
	})
	if err != nil {
		return err
	}
	var errs []error
	for name, text := range map[string]string{configName: string(config), "server-key.pem": key, "server.pem": certificate, "ca.pem": ca} {
		errs = append(errs, os.WriteFile(filepath.Join(e.dir, name), []byte(text), 0o600))
	}
	return errors.Join(errs...)
}

// wait returns when the server listens.
func (s *server) wait(ctx context.Context, e *env) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-s.ready:
			return nil
		case <-s.done:
			return errors.New("the server ended before it listened")
		case <-ctx.Done():
			return fmt.Errorf("the server does not listen: %w", ctx.Err())
		case <-tick.C:
			if s.ReadyURL != "" && e.answers(ctx, s.ReadyURL) {
				return nil
			}
		}
	}
}

func (e *env) answers(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := e.http.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// readLine evaluates a line of the server's output.
func (s *server) readLine(line []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(append(s.log, line...), '\n')
	if len(s.log) > maxKept {
		s.log = append([]byte(nil), s.log[len(s.log)-maxKept/2:]...)
	}
	if s.Ready != nil && !s.listens && s.Ready.Match(line) {
		s.listens = true
		close(s.ready)
	}
	s.failed = s.failed || s.Failure != nil && s.Failure.Match(line)
	count := func(pattern *regexp.Regexp, add func(*tally)) {
		if match := pattern.FindSubmatch(line); match != nil {
			client := string(match[pattern.SubexpIndex("client")])
			t := s.tallies[client]
			add(&t)
			s.tallies[client] = t
		}
	}
	count(s.Request, func(t *tally) { t.requests++ })
	count(s.Granted, func(t *tally) { t.granted++ })
	count(s.FailedLogon, func(t *tally) { t.failedLogons++ })
}

// counted returns the counts of a client. They are complete after stop.
func (s *server) counted(clientID string) tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tallies[clientID]
}

// running fails if the server has ended by itself. It must be called before stop.
func (s *server) running() error {
	select {
	case <-s.done:
		return errors.New("the server ended by itself")
	default:
		return nil
	}
}

// failure returns an error if the output has an internal error of the server, whatever its
// answers were. It is complete after stop.
func (s *server) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed {
		return errors.New("the server had an internal error")
	}
	return nil
}

// output returns the end of the server's output.
func (s *server) output() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.log)
}
