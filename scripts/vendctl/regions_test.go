//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"tokenvendor/shared/client"
	"tokenvendor/shared/oauth/oauthtest"
)

const (
	// regionHeader is a fixed header of the clients' documents, by which the authorization
	// server's record tells the stacks apart.
	regionHeader = "X-Region"
	// failoverTime is how long a call may take while the first stack is gone: the package client
	// gives up a connection after 5 seconds.
	failoverTime = 5 * time.Second
	// minuteAway is how long the package client stays with the second URL.
	minuteAway = time.Minute
)

// region is a local stack that stands for one region. Its processes are killed together, and
// its state and addresses are kept.
type region struct {
	t    *testing.T
	name string
	keep string   // the directory of its state
	file string   // that the stack writes with -json
	more []string // flags
	cmd  *exec.Cmd
	localStack
}

func newRegion(t *testing.T, name string) *region {
	t.Helper()
	return &region{t: t, name: name, keep: t.TempDir(), file: filepath.Join(t.TempDir(), "stack.json")}
}

// startRegion starts a stack. If there is another one, the callers have the same AWS
// credentials at both, as IAM has no regions.
func startRegion(t *testing.T, name string, other *region) *region {
	t.Helper()
	r := newRegion(t, name)
	if other != nil {
		var state map[string]json.RawMessage
		readJSON(t, other.statePath(), &state)
		text, err := json.Marshal(map[string]json.RawMessage{"principals": state["principals"]})
		if err == nil {
			err = os.WriteFile(r.statePath(), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	r.start()
	t.Cleanup(r.kill)
	return r
}

func (r *region) statePath() string { return filepath.Join(r.keep, "state.json") }

func readJSON(t *testing.T, file string, value any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, value)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// start runs the command of README.md until the stack is up.
func (r *region) start() {
	r.t.Helper()
	_ = os.Remove(r.file) // of a stack that was killed
	r.cmd = exec.Command("go", append([]string{"run", "./scripts/local", "-keep", r.keep, "-json", r.file}, r.more...)...)
	r.cmd.Dir = filepath.Join("..", "..")
	r.cmd.Env = append(os.Environ(), "TMPDIR="+r.t.TempDir())
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(r.file); err == nil {
			readJSON(r.t, r.file, &r.localStack)
			return
		}
	}
	r.t.Fatalf("stack %s is not up after two minutes", r.name)
}

// kill ends all processes of the stack at once. Those of the functions end without it.
func (r *region) kill() {
	_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
	_ = r.cmd.Wait()
}

// host is what the log of a caller names the stack by.
func (r *region) host() string {
	u, err := url.Parse(r.TokenURL)
	if err != nil {
		r.t.Fatal(err)
	}
	return u.Host
}

func (r *region) aws() aws.Config {
	p := r.Principals[0]
	return aws.Config{Region: r.Region, Credentials: credentials.NewStaticCredentialsProvider(p.AccessKeyID, p.SecretAccessKey, p.SessionToken)}
}

// document is that of a client of the tenant. Apart from the header it is the same in each
// region, as a replicated secret is.
func (r *region) document(tenant *oauthtest.Server, name, secret string) string {
	r.t.Helper()
	document, err := json.Marshal(map[string]any{
		"token_endpoint": tenant.TokenEndpoint(), "client_id": name, "client_secret": secret, "ca_certificates": string(tenant.CAPEM()),
		"headers": map[string]string{regionHeader: r.name},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return string(document)
}

func (r *region) secrets() *secretsmanager.Client {
	return secretsmanager.NewFromConfig(r.aws(), func(o *secretsmanager.Options) { o.BaseEndpoint = &r.AWSURL })
}

// add stores the document of a new client of the tenant.
func (r *region) add(tenant *oauthtest.Server, name, secret string) {
	r.t.Helper()
	in := &secretsmanager.CreateSecretInput{Name: aws.String(r.ClientSecretPrefix + name), SecretString: aws.String(r.document(tenant, name, secret))}
	if _, err := r.secrets().CreateSecret(r.t.Context(), in); err != nil {
		r.t.Fatal(err)
	}
}

// put stores a new version of a client's document.
func (r *region) put(name, document string) {
	r.t.Helper()
	in := &secretsmanager.PutSecretValueInput{SecretId: aws.String(r.ClientSecretPrefix + name), SecretString: &document}
	if _, err := r.secrets().PutSecretValue(r.t.Context(), in); err != nil {
		r.t.Fatal(err)
	}
}

// waitForState waits until the kept state has a client's secret. The stack writes it every second.
func (r *region) waitForState(name string) {
	r.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var state struct{ Secrets json.RawMessage }
		readJSON(r.t, r.statePath(), &state)
		if strings.Contains(string(state.Secrets), r.ClientSecretPrefix+name) {
			return
		}
	}
	r.t.Fatalf("stack %s does not keep its secrets", r.name)
}

// requests returns how many token requests for a client the tenant got from each region.
func requests(tenant *oauthtest.Server, id string) map[string]int {
	count := make(map[string]int)
	for _, request := range tenant.Requests() {
		if request.Form.Get("client_id") == id {
			count[request.Header.Get(regionHeader)]++
		}
	}
	return count
}

// program is a caller that knows several regions. It forgets its token after each call, so that
// the next one calls a vendor.
type program struct {
	*client.Client
	request client.Request
	log     lockedBuffer
	offset  atomic.Int64 // of its clock, which stands still otherwise
	calls   atomic.Int64

	// What follows belongs to the goroutine that calls, until it ends.
	tokens  []string // fingerprints
	slowest time.Duration
	failed  error // the first
}

func newProgram(t *testing.T, name string, regions ...*region) *program {
	t.Helper()
	p, begun := &program{request: client.Request{Client: name}}, time.Now()
	cfg := client.Config{
		AWS: regions[0].aws(), Log: slog.New(slog.NewJSONHandler(&p.log, nil)),
		Now: func() time.Time { return begun.Add(time.Duration(p.offset.Load())) },
	}
	for _, r := range regions {
		cfg.URLs = append(cfg.URLs, r.TokenURL)
	}
	var err error
	if p.Client, err = client.New(cfg); err != nil {
		t.Fatal(err)
	}
	return p
}

// call gets a token.
func (p *program) call(ctx context.Context) {
	p.Forget()
	begun := time.Now()
	token, err := p.Token(ctx, p.request)
	p.slowest = max(p.slowest, time.Since(begun))
	p.calls.Add(1)
	switch {
	case err == nil:
		p.tokens = append(p.tokens, token.Fingerprint())
	case p.failed == nil:
		p.failed = err
	}
}

// line is that of one call of a vendor.
type line struct{ Host, Error string }

// lines returns the log.
func (p *program) lines(t *testing.T) (all []line) {
	t.Helper()
	for text := range strings.Lines(p.log.String()) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

// during lets the programs call while do runs. Before and after it each makes at least n calls.
func during(t *testing.T, programs []*program, n int64, do func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var calling sync.WaitGroup
	for _, p := range programs {
		calling.Go(func() {
			for ctx.Err() == nil {
				p.call(t.Context())
			}
		})
	}
	more := func() {
		for _, p := range programs {
			for want := p.calls.Load() + n; p.calls.Load() < want; time.Sleep(time.Millisecond) {
			}
		}
	}
	more()
	do()
	more()
	stop()
	calling.Wait()
}

// Two stacks serve the clients of one tenant, and the callers know both.
func TestTwoRegions(t *testing.T) {
	if testing.Short() {
		t.Skip("starts two local stacks")
	}
	tenant := oauthtest.NewServer(t, oauthtest.Config{})
	one := startRegion(t, "one", nil)
	two := startRegion(t, "two", one)
	for _, name := range []string{"shop", "typo"} {
		tenant.Register(oauthtest.Client{ID: name, Methods: []string{"client_secret_post"}, Secrets: []string{"cnry-shop"}})
		one.add(tenant, name, "cnry-"+name)
		two.add(tenant, name, "cnry-"+name)
	}
	one.waitForState("typo")
	testKill(t, tenant, one, two)
	testWrongCredential(t, tenant, one, two)
}

// testKill kills the first stack while four programs call it: no call fails, and the second one
// serves with a token of its own. When the first one is back, it is used again after the minute
// that package client documents.
func testKill(t *testing.T, tenant *oauthtest.Server, one, two *region) {
	t.Helper()
	programs := make([]*program, 4)
	for i := range programs {
		programs[i] = newProgram(t, "shop", one, two)
	}
	during(t, programs, 25, one.kill)
	for _, p := range programs {
		p.checkFailover(t, one, two)
	}
	if got := requests(tenant, "shop"); !maps.Equal(got, map[string]int{"one": 1, "two": 1}) {
		t.Errorf("got the exchanges %v, want one of each region", got)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", one.Principals[0].AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", one.Principals[0].SecretAccessKey)
	t.Setenv("AWS_SESSION_TOKEN", "")
	if out, errs, code := vendctl(t, "--api", one.TokenURL+","+two.TokenURL, "--region", two.Region, "get", "shop"); code != 0 || strings.Count(out, ".") != 2 {
		t.Errorf("vendctl: got %d characters, %q, %d, want a token of the second region", len(out), errs, code)
	}
	one.start()
	for _, p := range programs {
		p.checkReturn(t, one, two)
	}
	if got := requests(tenant, "shop"); got["two"] != 1 || got["one"] > 2 {
		t.Errorf("got the exchanges %v, want none of the second region since", got)
	}
}

// checkFailover checks what a program has seen of the kill of its first region.
func (p *program) checkFailover(t *testing.T, one, two *region) {
	t.Helper()
	if p.failed != nil {
		t.Errorf("a call failed: %v", p.failed)
	}
	if p.slowest >= failoverTime {
		t.Errorf("the slowest call took %v, want less than %v", p.slowest, failoverTime)
	}
	lost, served := 0, map[string]int{}
	for _, l := range p.lines(t) {
		switch {
		case l.Error == "none":
			served[l.Host]++
		case l.Host == one.host():
			lost++
		default:
			t.Errorf("a call of the second region failed: %s", l.Error)
		}
	}
	if lost != 1 || served[one.host()] < 20 || served[two.host()] < 20 {
		t.Errorf("got %d lost calls and %v, want one that was repeated, and the others at both", lost, served)
	}
	changes := 0
	for i := range p.tokens[1:] {
		if p.tokens[i] != p.tokens[i+1] {
			changes++
		}
	}
	if changes != 1 {
		t.Errorf("the token changed %d times, want once: each region has its own", changes)
	}
}

// checkReturn checks that a program calls its first region again after the minute, and not
// before.
func (p *program) checkReturn(t *testing.T, one, two *region) {
	t.Helper()
	for _, test := range []struct {
		passes time.Duration
		want   *region
	}{{0, two}, {minuteAway, one}} {
		p.offset.Add(int64(test.passes))
		before := len(p.lines(t))
		for range 5 {
			p.call(t.Context())
		}
		lines := p.lines(t)[before:]
		for _, l := range lines {
			if l.Host != test.want.host() || l.Error != "none" {
				t.Errorf("%v later: got a call with the error %q, want only calls of region %s without one", test.passes, l.Error, test.want.name)
			}
		}
		if p.failed != nil || len(lines) != 5 {
			t.Errorf("%v later: got %d calls, %v, want 5", test.passes, len(lines), p.failed)
		}
	}
}

// testWrongCredential: a wrong credential without a version before it costs one failed logon in
// each stack that a caller knows, because the answer 502 makes package client ask the next one.
// Further callers cost none, whatever they ask for.
func testWrongCredential(t *testing.T, tenant *oauthtest.Server, one, two *region) {
	t.Helper()
	for i, regions := range [][]*region{{one, two}, {one}, {two}, {two, one}} {
		p := newProgram(t, "typo", regions...)
		if i > 0 {
			p.request.Scope = []string{"scope" + strconv.Itoa(i)}
		}
		p.call(t.Context())
		var failure *client.Error
		if !errors.As(p.failed, &failure) || failure.Status != http.StatusBadGateway || failure.Code != "server_error" {
			t.Errorf("caller %d: got %v, want server_error", i, p.failed)
		}
		if got := requests(tenant, "typo"); !maps.Equal(got, map[string]int{"one": 1, "two": 1}) {
			t.Errorf("caller %d: got the failed logons %v, want one of each region", i, got)
		}
	}
	if n := tenant.FailedLogons("typo"); n != 2 {
		t.Errorf("got %d failed logons, want one of each region", n)
	}
}
