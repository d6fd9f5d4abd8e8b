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

// peer describes an external authorization server. Its commands and URLs may have
// placeholders: {port} is a free port of loopback; {config} is the path of a file {"port",
// "issuer", "resource", "tls": {"key", "certificate", "client_ca"}, "clients": […]}, whose
// clients have the members of RFC 7591; {dir} is a directory that has the same key,
// certificate and CA as server-key.pem, server.pem and ca.pem, and in which the server may
// write files. The issuer must have metadata. To stop the server its standard input is
// closed and its process group gets SIGTERM.
type peer struct {
	Name string
	// Needs are the programs that it needs. If one is missing the server is not run, which
	// is a failure where CI=true.
	Needs []string
	// Version is a command that prints the server's version; Command starts the server.
	// Both run in the directory of the description.
	Version, Command []string
	Issuer           string
	// TokenEndpoint may be empty: the function then finds it in the issuer's metadata.
	TokenEndpoint string `json:"token_endpoint"`
	// Metadata is the URL of the metadata with keys and introspection; empty: that of
	// OpenID Connect Discovery.
	Metadata string
	// The server listens when a line of its output matches Ready or when ReadyURL answers
	// 200. One of the two must be given.
	Ready    *regexp.Regexp
	ReadyURL string `json:"ready_url"`
	// Request matches a line of output that every token request makes, Granted one that
	// every token makes, FailedLogon one that every wrong credential makes; the group
	// "client" is the client_id. Failure matches an internal error of the server; optional.
	Request, Granted, Failure *regexp.Regexp
	FailedLogon               *regexp.Regexp `json:"failed_logon"`
	// Document has the members that the server needs in every client's document, such as a
	// default scope; basic_encoding and assertion_audience go into those whose method uses
	// them. Strings may have placeholders.
	Document map[string]any
	// Methods are the client authentication methods that the server takes, Algorithms those
	// of private_key_jwt. Features are any of scope, resource (RFC 8707, answered with a
	// JWT), certificate_bound (RFC 8705 section 3, for clients that are registered so),
	// always_certificate_bound (for all clients with a certificate) and introspection (RFC
	// 7662).
	Methods, Algorithms, Features []string

	dir string
}

// readPeer reads a description. It reports all problems together.
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
		return nil, fmt.Errorf("%s: more after the description", file)
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
	// An unknown name would silently leave rows out.
	errs = append(errs,
		checkNames("methods", p.Methods, "client_secret_post", "client_secret_basic", "private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"),
		checkNames("algorithms", p.Algorithms, "RS256", "PS256", "ES256", "ES384"),
		checkNames("features", p.Features, "scope", "resource", "certificate_bound", "always_certificate_bound", "introspection"))
	return errors.Join(errs...)
}

func checkNames(member string, values []string, all ...string) error {
	for _, value := range values {
		if !slices.Contains(all, value) {
			return fmt.Errorf("%s: %q is none of %s", member, value, strings.Join(all, ", "))
		}
	}
	return nil
}

// secretMethod returns the method of clients with a secret whose method does not matter.
func (p *peer) secretMethod() string {
	if !slices.Contains(p.Methods, "client_secret_post") {
		return "client_secret_basic"
	}
	return "client_secret_post"
}

// takesSecrets reports whether the server takes clients with a secret.
func (p *peer) takesSecrets() bool { return slices.Contains(p.Methods, p.secretMethod()) }

func (p *peer) has(feature string) bool { return slices.Contains(p.Features, feature) }

// missing returns the first program of Needs that is not installed; empty: none.
func (p *peer) missing() string {
	for _, program := range p.Needs {
		if _, err := exec.LookPath(program); err != nil {
			return program
		}
	}
	return ""
}

// metadata returns the URL of the issuer's metadata.
func (p *peer) metadata() string {
	if p.Metadata != "" {
		return p.Metadata
	}
	return strings.TrimSuffix(p.Issuer, "/") + "/.well-known/openid-configuration"
}

// version runs the command Version.
func (p *peer) version(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.Version[0], p.Version[1:]...)
	cmd.Dir = p.dir
	output, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("version of %s: %w", p.Name, err)
	}
	return strings.TrimSpace(string(output)), nil
}

// fillIn returns a copy of the description without placeholders.
func (p *peer) fillIn(port int, dir string) *peer {
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
