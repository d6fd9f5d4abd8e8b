package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	awsCanary = "cnry-aws"
	opaque    = "cnry-token's"
)

var jwt = "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"me","exp":1795882607}`)) + ".cnry-signature"

// vendor returns the file of a local stack whose vendor answers by the client's name.
func vendor(t *testing.T) (stackFile string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, status, code := opaque, 0, ""
		if r.Header.Get("Authorization") == "" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		switch filepath.Base(r.URL.Path) {
		case "jwt":
			token = jwt
		case "nobody":
			status, code = 403, "access_denied"
		case "broken":
			status, code = 502, "server_error"
		case "down":
			status, code = 503, "temporarily_unavailable"
		}
		body, _ := io.ReadAll(r.Body)
		switch {
		case strings.Contains(string(body), "dry_run"):
			_, _ = fmt.Fprintf(w, `{"dry_run":true,"allowed":%t,"mode":"iam","error":%q,"error_description":"d"}`, status == 0, code)
		case status != 0:
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, `{"error":%q,"error_description":"d"}`, code)
		default:
			_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":600,"refresh_after":480,"key":%q}`, token, r.Header.Get("Authorization")[:40])
		}
	}))
	t.Cleanup(server.Close)
	text, err := json.Marshal(map[string]any{
		"region": "eu-central-1", "token_url": server.URL + "/prod/token/", "clients": []map[string]string{{"name": "billing"}, {"name": "jwt"}},
		"principals": []map[string]string{
			{"arn": "arn:aws:iam::123456789012:role/demo", "access_key_id": "AKIAONE", "secret_access_key": awsCanary},
			{"arn": "arn:aws:iam::123456789012:role/other", "access_key_id": "AKIATWO", "secret_access_key": awsCanary},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	stackFile = filepath.Join(t.TempDir(), "stack.json")
	if err := os.WriteFile(stackFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return stackFile
}

// vendctl runs a command.
func vendctl(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	if strings.Contains(out.String()+errs.String(), awsCanary) {
		t.Errorf("%v shows an AWS key", args)
	}
	if strings.Contains(errs.String(), "cnry-") {
		t.Errorf("%v shows a token in %q", args, errs.String())
	}
	return out.String(), errs.String(), code
}

func TestGetPrintsTheToken(t *testing.T) {
	local := "--local=" + vendor(t)
	for format, want := range map[string]string{
		"raw":    opaque + "\n",
		"header": "Authorization: Bearer " + opaque + "\n",
		"env":    `ACCESS_TOKEN='cnry-token'\''s'` + "\n",
		"curl":   `header = "Authorization: Bearer ` + opaque + "\"\n",
	} {
		if out, errs, code := vendctl(t, local, "get", "billing", "--format", format); out != want || errs != "" || code != 0 {
			t.Errorf("%s: got %q, %q, %d, want %q", format, out, errs, code, want)
		}
	}
	for _, args := range [][]string{{"--format", "json"}, {"-o", "json"}} {
		out, _, code := vendctl(t, append([]string{local, "get", "billing"}, args...)...)
		var answer map[string]any
		if err := json.Unmarshal([]byte(out), &answer); err != nil || code != 0 || answer["access_token"] != opaque || answer["expires_in"] == nil {
			t.Errorf("%v: got %q, %d", args, out, code)
		}
	}
	if out, _, _ := vendctl(t, local, "--as", "other", "get", "billing", "-o", "json"); !strings.Contains(out, "AKIATWO") {
		t.Errorf("--as: got %q, want the second principal", out)
	}
}

func TestGetDecodesWithoutSignature(t *testing.T) {
	local := "--local=" + vendor(t)
	for _, output := range []string{"table", "json"} {
		out, _, code := vendctl(t, local, "get", "jwt", "--decode", "-o", output)
		if code != 0 || !strings.Contains(out, "iss") || strings.Contains(out, "cnry-signature") || strings.Contains(out, jwt[:30]) {
			t.Errorf("%s: got %q, %d", output, out, code)
		}
	}
	if _, errs, code := vendctl(t, local, "get", "billing", "--decode"); code != exitFailed || !strings.Contains(errs, "no JWT") {
		t.Errorf("an opaque token: got %q, %d", errs, code)
	}
}

func TestExitCodes(t *testing.T) {
	stack := vendor(t)
	local := "--local=" + stack
	t.Setenv("TOKEN_URL", "")
	t.Setenv("TOKEN_STACK", "")
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		want int
	}{
		{[]string{local, "get", "billing"}, 0},
		{[]string{"help"}, 0},
		{[]string{"get", "billing"}, exitUsage},
		{[]string{local, "get"}, exitUsage},
		{[]string{local, "get", "a", "b"}, exitUsage},
		{[]string{local, "get", "billing", "--format", "x"}, exitUsage},
		{[]string{local, "get", "billing", "-o", "x"}, exitUsage},
		{[]string{local, "get", "billing", "--unknown"}, exitUsage},
		{[]string{local, "--api", "https://x.example", "get", "billing"}, exitUsage},
		{[]string{"--api", "http://x.example", "--region", "eu-central-1", "get", "billing"}, exitUsage},
		{[]string{"unknown"}, exitUsage},
		{[]string{"--local", bad, "get", "billing"}, exitUsage},
		{[]string{local, "exec", "billing"}, exitUsage},
		{[]string{local, "exec", "--", "true"}, exitUsage},
		{[]string{local, "serve", "--listen", "0.0.0.0:0"}, exitUsage},
		{[]string{local, "serve", "--route", "x"}, exitUsage},
		{[]string{local, "serve", "--socket", bad}, exitUsage},
		{[]string{local, "serve", "--role-arn", "arn:aws:iam::123456789012:role/x"}, exitUsage},
		{[]string{local, "get", "nobody"}, exitRefused},
		{[]string{local, "get", "Not-A-Name"}, exitUsage},
		{[]string{local, "get", "billing", "--min-ttl", "-1s"}, exitUsage},
		{[]string{local, "serve", "--prefetch", "Not-A-Name"}, exitUsage},
		{[]string{"service-key", "NOT VALID"}, exitUsage},
		{[]string{"help", "nosuch"}, exitUsage},
		{[]string{"help", "get"}, 0},
		{[]string{local, "exec", "--scope", "a", "--route", "a=billing@https://x.example", "--", "true"}, exitUsage},
		{[]string{local, "exec", "--route", "a=billing@https://x.example", "--route", "a=jwt@https://y.example", "--", "true"}, exitUsage},
		{[]string{local, "exec", "--route", "a-b=billing@https://x.example", "--route", "a_b=jwt@https://y.example", "--", "true"}, exitUsage},
		{[]string{local, "exec", "billing", "--", "/no/such/program"}, exitNotStarted},
		{[]string{local, "explain", "nobody"}, exitRefused},
		{[]string{local, "explain", "broken"}, exitCredential},
		{[]string{local, "explain", "down"}, exitTemporary},
		{[]string{local, "doctor", "broken"}, exitCredential},
		{[]string{local, "explain", "billing"}, 0},
		{[]string{"--local", stack + ".none", "get", "billing"}, exitNotFound},
		{[]string{local, "--as", "nobody", "get", "billing"}, exitNotFound},
		{[]string{"service-key", "billing", "--local-secret-file", stack + ".none"}, exitNotFound},
		{[]string{local, "get", "down"}, exitTemporary},
		{[]string{local, "get", "broken"}, exitCredential},
		{[]string{local, "--stack", "prod", "freeze", "billing"}, exitUsage},
		{[]string{local, "--api", "https://x.example", "client", "list"}, exitUsage},
		{[]string{local, "--as", "nobody", "client", "list"}, exitNotFound},
		{[]string{local, "-o", "yaml", "client", "list"}, exitUsage},
		{[]string{local, "-o", "jsn", "audit"}, exitUsage},
		{[]string{local, "-o", "yaml", "dead-letters"}, exitUsage},
		{[]string{local, "get", "billing", "--min-ttl", "24h"}, 0},
		{[]string{local, "get", "billing", "--min-ttl", "24h1s"}, exitUsage},
		{[]string{local, "get", "billing", "--min-ttl", "500ms"}, exitUsage},
		{[]string{local, "exec", "../x", "--", "true"}, exitUsage},
	} {
		out, errs, code := vendctl(t, test.args...)
		if code != test.want || (code != 0) != (errs != "") {
			t.Errorf("%v: got %d, %q, %q, want %d", test.args, code, out, errs, test.want)
		}
	}
}

func TestOutputThatCannotBeWrittenIsAnError(t *testing.T) {
	local := "--local=" + vendor(t)
	for _, args := range [][]string{{local, "explain", "billing", "-o", "json"}, {local, "explain", "billing"}, {local, "get", "billing"}, {local, "doctor"}} {
		if code := run(t.Context(), args, &full{}, io.Discard); code != exitFailed {
			t.Errorf("%v: got %d, want %d", args, code, exitFailed)
		}
	}
}

func TestDoctorSaysWhatToDo(t *testing.T) {
	stack := vendor(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIA")
	t.Setenv("AWS_SECRET_ACCESS_KEY", awsCanary)
	closed := "http://" + freeAddress(t)
	for _, test := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"--local", stack, "doctor"}, 0, []string{"credentials", "connection", "clock"}},
		{[]string{"--local", stack, "doctor", "billing"}, 0, []string{"a token came after", "ends in 10m0s"}},
		{[]string{"--local", stack, "doctor", "nobody"}, exitRefused, []string{"there would be no token: d", "ask the operators"}},
		{[]string{"--local", stack, "doctor", "broken"}, exitCredential, []string{"tell the operators"}},
		{[]string{"--api", closed, "--region", "eu-central-1", "doctor"}, exitFailed, []string{"refuses the connection", "check the network"}},
		{[]string{"--api", "https://vendor.invalid", "--region", "eu-central-1", "doctor"}, exitFailed, []string{"does not resolve"}},
		{[]string{"--local", stack, "doctor", "a", "b"}, exitUsage, nil},
	} {
		for _, output := range []string{"table", "json"} {
			out, _, code := vendctl(t, append(test.args, "-o", output)...)
			if code != test.code || strings.Contains(out, "cnry-") {
				t.Errorf("%v: got %d, %q, want %d", test.args, code, out, test.code)
			}
			for _, want := range test.want {
				if !strings.Contains(out, want) {
					t.Errorf("%v: got %q, want %q in it", test.args, out, want)
				}
			}
		}
	}
}

// A clock that is wrong by minutes is the reason for a 403 that says nothing.
func TestDoctorFindsAWrongClock(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIA")
	t.Setenv("AWS_SECRET_ACCESS_KEY", awsCanary)
	for _, test := range []struct {
		skew   time.Duration
		result string
	}{{-10 * time.Minute, "failed"}, {time.Minute, "warning"}, {0, "ok"}} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", time.Now().Add(test.skew).UTC().Format(http.TimeFormat))
		}))
		out, _, code := vendctl(t, "--api", server.URL, "--region", "eu-central-1", "doctor", "-o", "json")
		server.Close()
		if !strings.Contains(out, `{"check":"clock","result":"`+test.result+`"`) || (code == exitFailed) != (test.result == "failed") {
			t.Errorf("%v: got %d, %s", test.skew, code, out)
		}
	}
}

// build compiles the command.
func build(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the command")
	}
	binary := filepath.Join(t.TempDir(), "vendctl")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return binary
}

// serveAt starts the command serve, and returns when it answers.
func serveAt(t *testing.T, binary, stack, listen, secretFile string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(binary, "--local", stack, "serve", "--listen", listen, "--local-secret-file", secretFile) //nolint:noctx // it is killed
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	t.Cleanup(func() {
		if strings.Contains(out.String(), "cnry-") {
			t.Error("serve prints a token or a key")
		}
	})
	startServe(t, cmd, listen)
	return cmd
}

// startServe starts a command that serves, and returns when it answers.
func startServe(t *testing.T, cmd *exec.Cmd, listen string) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get("http://" + listen + "/healthz") //nolint:noctx // a test
		if err == nil {
			_ = resp.Body.Close()
			return
		}
	}
	t.Fatal("serve does not answer")
}

// After a kill and a new start there is a new local secret, and the old one gets 401.
func TestServeMakesANewSecretAtEachStart(t *testing.T) {
	binary, stack := build(t), vendor(t)
	file := filepath.Join(t.TempDir(), "dir", "secret")
	listen := freeAddress(t)
	logon := func() (secret string, status func(string) int) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text)), func(secret string) int {
			resp, err := http.PostForm("http://"+listen+"/oauth2/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"billing"}, "client_secret": {secret}}) //nolint:noctx // a test
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			return resp.StatusCode
		}
	}
	first := serveAt(t, binary, stack, listen, file)
	info, err := os.Stat(file)
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("got the mode %v, %v, want 0600", info.Mode(), err)
	}
	old, status := logon()
	if status(old) != http.StatusOK || len(old) < 26 {
		t.Errorf("the secret of %d characters gets %d", len(old), status(old))
	}
	key, _, code := vendctl(t, "service-key", "billing", "--listen", listen, "--local-secret-file", file)
	var document map[string]any
	if err := json.Unmarshal([]byte(key), &document); err != nil || code != 0 || document["clientid"] != "billing" || document["clientsecret"] != old || document["url"] != "http://"+listen {
		t.Errorf("service-key: got %q, %d", key, code)
	}
	services, _, _ := vendctl(t, "vcap", "billing", "jwt", "--service", "identity", "--listen", listen, "--local-secret-file", file)
	var bindings map[string][]struct {
		Name        string
		Credentials map[string]any
	}
	if err := json.Unmarshal([]byte(services), &bindings); err != nil || len(bindings["identity"]) != 2 || bindings["identity"][1].Credentials["clientid"] != "jwt" {
		t.Errorf("vcap: got %q", services)
	}
	_ = first.Process.Kill()
	_ = first.Wait()
	second := serveAt(t, binary, stack, listen, file)
	fresh, status := logon()
	if fresh == old || status(old) != http.StatusUnauthorized || status(fresh) != http.StatusOK {
		t.Errorf("after a new start: the old secret gets %d, the new one %d", status(old), status(fresh))
	}
	if err := second.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := second.Wait(); err != nil {
		t.Errorf("an interrupt: got %v, want a clean end", err)
	}
}

// freeAddress returns an address of this machine on which nothing listens.
// freeAddress returns an address that nothing listens at. The system gives ports of its range,
// which begins above, to others meanwhile.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(20_000+rand.IntN(12_000)))
		if listener, err := net.Listen("tcp", address); err == nil {
			_ = listener.Close()
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}

func TestServeOnASocket(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no Unix sockets")
	}
	dir, stack := t.TempDir(), vendor(t)
	socket, file := filepath.Join(dir, "s"), filepath.Join(dir, "secret")
	for range 2 { // the second one finds the socket of the first
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan int, 1)
		go func() {
			ended <- run(ctx, []string{"--local", stack, "serve", "-q", "--socket", socket, "--local-secret-file", file, "--prefetch", "billing", "--oneshot", "--local-secret-group", strconv.Itoa(os.Getgid())}, io.Discard, io.Discard)
		}()
		client := &http.Client{Transport: &http.Transport{DialContext: dialSocket(socket)}}
		status := 0
		for end := time.Now().Add(20 * time.Second); status == 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			secret, _ := os.ReadFile(file)
			resp, err := client.PostForm("http://vendctl/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"billing"}, "client_secret": {strings.TrimSpace(string(secret))}}) //nolint:noctx // a test
			if err == nil && resp.StatusCode != http.StatusUnauthorized {
				status = resp.StatusCode
			}
			if err == nil {
				_ = resp.Body.Close()
			}
		}
		if status != http.StatusOK {
			t.Fatalf("got %d", status)
		}
		if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o660 {
			t.Errorf("got the mode %v, %v of the socket, want that of a group", info.Mode(), err)
		}
		if code := <-ended; code != 0 {
			t.Errorf("--oneshot: got the exit code %d", code)
		}
		stop()
	}
}

func TestGroupMayReadTheLocalSecret(t *testing.T) {
	group, err := user.LookupGroupId(strconv.Itoa(os.Getgid()))
	if err != nil || runtime.GOOS == "windows" {
		t.Skip("no groups")
	}
	l := &location{secretFile: filepath.Join(t.TempDir(), "secret"), secretGroup: group.Name}
	if _, err := l.writeSecret("x"); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(l.secretFile); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("got the mode %v, %v, want 0640", info.Mode(), err)
	}
	for _, name := range []string{"no-such-group-at-all", "-7"} {
		l.secretGroup = name
		if _, err := l.writeSecret("x"); exitCode(err) != exitUsage {
			t.Errorf("got %v for the group %s, which does not exist", err, name)
		}
	}
}

func dialSocket(socket string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
}

// lockedBuffer is written by a command that the test reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A pasted key or secret is not repeated: it begins with dashes, or is in the place of a command.
func TestErrorOfCommandLineRepeatsNoValue(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"client", "check", "-----BEGIN PRIVATE KEY-----\ncnry-key"}, "begins with -- and is no flag"},
		{[]string{"client", "add", "x", "-pcnry-secret"}, "there is no flag -p"},
		{[]string{"get", "--Cnry-Secret", "x"}, "there is no flag of this name"},
		{[]string{"get", "--min-tl=cnry-secret", "x"}, `there is no flag "--min-tl"`},
		{[]string{"get", "--min-ttl", "cnry-secret", "x"}, "the value of --min-ttl must be of type duration"},
		{[]string{"get", "x", "--min-ttl"}, "--min-ttl needs a value"},
		{[]string{"cnry-secret-of-a-client-1"}, "there is no command of this name"},
		{[]string{"gett"}, `there is no command "gett"`},
		{[]string{"client", "cnry-secret"}, "want a command"},
	} {
		if _, errs, code := vendctl(t, test.args...); code != exitUsage || !strings.Contains(errs, test.want) {
			t.Errorf("%.20q: got %d, %q, want %q", test.args, code, errs, test.want)
		}
	}
}
