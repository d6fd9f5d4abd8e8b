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
	// readyTime is how long a server may take until it listens; stopTime how long it
	// may take to end before it is killed.
	readyTime = 30 * time.Second
	stopTime  = 5 * time.Second
)

// tally is what a server said of one client's token requests.
type tally struct{ requests, granted, failedLogons int }

// server is a peer that runs.
type server struct {
	*peer
	cmd   *exec.Cmd
	ready chan struct{} // closed by the line that Ready matches
	done  chan struct{} // closed when the process has ended and all its output is read
	stop  func()        // ends it and its children, waits for done; may be called again

	mu      sync.Mutex
	seen    bool             // ready is closed; guarded by mu, as what follows
	tallies map[string]tally // by client_id
	failed  bool             // Failure matched
	log     []byte           // the end of the output
}

// start runs the server and waits until it listens.
func (p *peer) start(ctx context.Context, g *ground, clients []map[string]any) (*server, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	s := &server{peer: p.at(port, g.dir), ready: make(chan struct{}), done: make(chan struct{}), tallies: make(map[string]tally)}
	if err := g.writeConfig(port, s.Issuer, clients); err != nil {
		return nil, err
	}
	s.cmd = exec.CommandContext(ctx, s.Command[0], s.Command[1:]...)
	s.cmd.Dir = s.dir
	ownGroup(s.cmd)
	s.cmd.Cancel = func() error { killGroup(s.cmd); return nil }
	s.cmd.WaitDelay = stopTime
	output := &lines{each: s.hear}
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
		_ = s.cmd.Wait() // that it ended is what matters
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
	if err := s.wait(ctx, g); err != nil {
		s.stop()
		return s, err
	}
	return s, nil
}

// freePort returns a port of loopback that nobody listens on now.
func freePort(ctx context.Context) (int, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	return port, listener.Close()
}

// writeConfig writes the files that the description of peer promises.
func (g *ground) writeConfig(port int, issuer string, clients []map[string]any) error {
	key, err := oauthtest.KeyPEM(g.server.Key)
	if err != nil {
		return err
	}
	certificate, ca := oauthtest.CertificatePEM(g.server.Chain...), oauthtest.CertificatePEM(g.ca.Certificate)
	config, err := json.Marshal(map[string]any{
		"port": port, "issuer": issuer, "resource": resource, "clients": clients,
		"tls": map[string]string{"key": key, "certificate": certificate, "client_ca": ca},
	})
	if err != nil {
		return err
	}
	var errs []error
	for name, text := range map[string]string{configName: string(config), "server-key.pem": key, "server.pem": certificate, "ca.pem": ca} {
		errs = append(errs, os.WriteFile(filepath.Join(g.dir, name), []byte(text), 0o600))
	}
	return errors.Join(errs...)
}

// wait returns when the server listens.
func (s *server) wait(ctx context.Context, g *ground) error {
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
			if s.ReadyURL != "" && g.answers(ctx, s.ReadyURL) {
				return nil
			}
		}
	}
}

func (g *ground) answers(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := g.http.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// hear takes a line of the server's output.
func (s *server) hear(line []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(append(s.log, line...), '\n')
	if len(s.log) > maxKept {
		s.log = append([]byte(nil), s.log[len(s.log)-maxKept/2:]...)
	}
	if s.Ready != nil && !s.seen && s.Ready.Match(line) {
		s.seen = true
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

// counted returns what the server said of a client. It is all there is only after stop.
func (s *server) counted(clientID string) tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tallies[clientID]
}

// alive fails if the server ended by itself. It is asked before stop.
func (s *server) alive() error {
	select {
	case <-s.done:
		return errors.New("the server ended by itself")
	default:
		return nil
	}
}

// sound fails if the server had an error of its own, whatever it answered. It is sure
// only after stop.
func (s *server) sound() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed {
		return errors.New("the server had an error of its own")
	}
	return nil
}

// said returns the end of the server's output.
func (s *server) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.log)
}
