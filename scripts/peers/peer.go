package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// peer describes an authorization server of somebody else's. In its commands and URLs
// {port} is a free port of loopback, {config} the path of a file {"port", "issuer",
// "resource", "tls": {"key", "certificate", "client_ca"}, "clients": […]}, the clients
// with the members of RFC 7591, and {dir} a directory that has the same key, certificate
// and CA as server-key.pem, server.pem and ca.pem, and room for files of the server's.
// The issuer must have metadata. When the server is to end, its standard input ends and
// its process group gets SIGTERM.
type peer struct {
	Name string
	// Needs are programs without which it is not run; that is a failure where CI=true.
	Needs []string
	// Version is a command that prints what is under test; Command starts the server.
	// Both run in the directory of the description.
	Version, Command []string
	Issuer           string
	// TokenEndpoint may be empty: the function then looks for it in the issuer's
	// metadata.
	TokenEndpoint string `json:"token_endpoint"`
	// Metadata is where keys and introspection are found; empty: where OpenID Connect
	// Discovery says.
	Metadata string
	// Ready matches a line of the server's output; ReadyURL answers 200. One of the two
	// says that it listens.
	Ready    *regexp.Regexp
	ReadyURL string `json:"ready_url"`
	// Request matches the line of output that each token request makes, Granted that of
	// a token, FailedLogon that of a credential that was not right: the group "client"
	// is the client_id. Failure matches what the server says of its own errors; it may
	// be left out.
	Request, Granted, Failure *regexp.Regexp
	FailedLogon               *regexp.Regexp `json:"failed_logon"`
	// Document has the members that the server wants in every client's document, such
	// as a default scope; the placeholders may be in texts.
	Document map[string]any
	// Methods are those that it takes; Algorithms those of private_key_jwt; Features
	// any of scope, resource (RFC 8707, answered with a JWT), certificate_bound (RFC
	// 8705 section 3, for clients that are registered so), always_certificate_bound
	// (for all that show a certificate) and introspection (RFC 7662).
	Methods, Algorithms, Features []string

	dir string
}

// readPeer reads a description. All its problems are reported together.
func readPeer(file string) (*peer, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	p := &peer{dir: filepath.Dir(file)}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(p); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if decoder.More() {
		return nil, fmt.Errorf("%s: there is more after the description", file)
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return p, nil
}

func (p *peer) check() error {
	var errs []error
	must := func(ok bool, problem string) {
		if !ok {
			errs = append(errs, errors.New(problem))
		}
	}
	must(p.Name != "" && len(p.Version) > 0 && len(p.Command) > 0, "name, version and command must be given")
	must(strings.HasPrefix(p.Issuer, "https://"), "issuer must be an https URL")
	must((p.Ready == nil) != (p.ReadyURL == ""), "one of ready and ready_url must be given")
	for name, pattern := range map[string]*regexp.Regexp{"request": p.Request, "granted": p.Granted, "failed_logon": p.FailedLogon} {
		must(pattern != nil && pattern.SubexpIndex("client") > 0, name+" must have a group called client")
	}
	must(len(p.Methods) > 0, "methods must be given")
	must((len(p.Algorithms) > 0) == slices.Contains(p.Methods, "private_key_jwt"), "algorithms must be given with private_key_jwt, and only then")
	// A wrong name would silently leave rows out.
	errs = append(errs,
		known("methods", p.Methods, "client_secret_post", "client_secret_basic", "private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"),
		known("algorithms", p.Algorithms, "RS256", "PS256", "ES256", "ES384"),
		known("features", p.Features, "scope", "resource", "certificate_bound", "always_certificate_bound", "introspection"))
	return errors.Join(errs...)
}

func known(member string, values []string, all ...string) error {
	for _, value := range values {
		if !slices.Contains(all, value) {
			return fmt.Errorf("%s: %q is none of %s", member, value, strings.Join(all, ", "))
		}
	}
	return nil
}

// secretMethod is how a secret is sent where that is not what matters.
func (p *peer) secretMethod() string {
	if !slices.Contains(p.Methods, "client_secret_post") {
		return "client_secret_basic"
	}
	return "client_secret_post"
}

func (p *peer) has(feature string) bool { return slices.Contains(p.Features, feature) }

// missing is the first program that the server needs and that is not installed; empty:
// none.
func (p *peer) missing() string {
	for _, program := range p.Needs {
		if _, err := exec.LookPath(program); err != nil {
			return program
		}
	}
	return ""
}

// metadata is the URL of the issuer's metadata.
func (p *peer) metadata() string {
	if p.Metadata != "" {
		return p.Metadata
	}
	return strings.TrimSuffix(p.Issuer, "/") + "/.well-known/openid-configuration"
}

// version asks the server's program which version it is.
func (p *peer) version(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.Version[0], p.Version[1:]...)
	cmd.Dir = p.dir
	said, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s does not say its version: %w", p.Name, err)
	}
	return strings.TrimSpace(string(said)), nil
}

// at returns the description with its placeholders filled in.
func (p *peer) at(port int, dir string) *peer {
	fill := strings.NewReplacer("{port}", strconv.Itoa(port), "{config}", filepath.Join(dir, configName), "{dir}", dir)
	filled := *p
	filled.Command = make([]string, 0, len(p.Command))
	for _, word := range p.Command {
		filled.Command = append(filled.Command, fill.Replace(word))
	}
	for _, text := range []*string{&filled.Issuer, &filled.TokenEndpoint, &filled.Metadata, &filled.ReadyURL} {
		*text = fill.Replace(*text)
	}
	filled.Document = make(map[string]any, len(p.Document))
	for name, value := range p.Document {
		if text, ok := value.(string); ok {
			value = fill.Replace(text)
		}
		filled.Document[name] = value
	}
	return &filled
}
