package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// peer describes an authorization server of somebody else's. Its program gets the path
// of a file {"tls": {"key", "certificate", "client_ca"}, "clients": […]} as its last
// argument, the clients with the members of RFC 7591. On its standard output it says
// {"ready": <issuer>} when it listens on loopback, and {"client_id", "status"} after
// each token request. The issuer must have metadata (RFC 8414, OpenID Connect
// Discovery).
type peer struct {
	Name string
	// Package is the package.json, beside the description, that holds the version.
	Package string
	// Command is run in the directory of the description.
	Command []string
	// Methods are those that it takes; Features any of scope, resource (RFC 8707,
	// answered with a JWT) and certificate_bound (RFC 8705 section 3).
	Methods, Features []string

	dir string
}

func readPeer(file string) (*peer, error) {
	text, err := os.ReadFile(file) // #nosec G304 -- named by who runs this
	if err != nil {
		return nil, err
	}
	p := &peer{dir: filepath.Dir(file)}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(p); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if p.Name == "" || len(p.Command) == 0 || len(p.Methods) == 0 {
		return nil, fmt.Errorf("%s: name, command and methods must be given", file)
	}
	return p, nil
}

// version returns the version that the package file pins.
func (p *peer) version() string {
	var described struct{ Dependencies map[string]string }
	text, err := os.ReadFile(filepath.Join(p.dir, p.Package))
	if err != nil || json.Unmarshal(text, &described) != nil {
		return ""
	}
	return described.Dependencies[p.Name]
}

func (p *peer) has(feature string) bool { return slices.Contains(p.Features, feature) }

// server is a peer that runs.
type server struct {
	issuer string
	cmd    *exec.Cmd
	stderr bytes.Buffer // read after the process has ended, or for a failure
	done   chan struct{}

	mu       sync.Mutex
	statuses map[string][]int // of token requests, by client; guarded by mu
}

// start runs the server and waits until it listens.
func (p *peer) start(ctx context.Context, g *ground, rows []row) (*server, error) {
	clients := make([]map[string]any, 0, len(rows))
	for _, r := range rows {
		clients = append(clients, r.register)
	}
	text, err := json.Marshal(map[string]any{"tls": g.tls(), "clients": clients})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(g.dir, "server.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	// #nosec G204 -- named by the description
	s := &server{cmd: exec.CommandContext(ctx, p.Command[0], append(p.Command[1:], file)...), done: make(chan struct{}), statuses: make(map[string][]int)}
	s.cmd.Dir, s.cmd.Stderr = p.dir, &s.stderr
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan string, 1)
	go s.listen(stdout, ready)
	select {
	case s.issuer = <-ready:
		return s, nil
	case <-s.done:
	case <-time.After(30 * time.Second):
	}
	s.stop()
	return nil, errors.New("the server does not listen: " + s.stderr.String())
}

// listen reads what the server says.
func (s *server) listen(stdout io.Reader, ready chan<- string) {
	defer close(s.done)
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		var said struct {
			Ready    string
			ClientID string `json:"client_id"`
			Status   int
		}
		if json.Unmarshal(lines.Bytes(), &said) != nil {
			continue
		}
		if said.Ready != "" {
			ready <- said.Ready
			continue
		}
		s.mu.Lock()
		s.statuses[said.ClientID] = append(s.statuses[said.ClientID], said.Status)
		s.mu.Unlock()
	}
}

// asked returns the statuses of the token requests of a client, once there are at
// least n or a second has passed: they come through a pipe.
func (s *server) asked(client string, n int) []int {
	for range 100 {
		s.mu.Lock()
		statuses := slices.Clone(s.statuses[client])
		s.mu.Unlock()
		if len(statuses) >= n {
			return statuses
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

func (s *server) stop() {
	_ = s.cmd.Process.Kill()
	<-s.done
	_ = s.cmd.Wait()
}

// errors ends the server and returns what it wrote to its standard error.
func (s *server) errors() string {
	s.stop()
	return s.stderr.String()
}
