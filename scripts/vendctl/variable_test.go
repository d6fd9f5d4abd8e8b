package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Flags go before TOKEN_STACK, and that before TOKEN_URL.
func TestStackVariableNamesTheVendor(t *testing.T) {
	stack, dead := vendor(t), "http://"+freeAddress(t)
	fakeAWS(t, map[string]string{"TokenUrl": localURL(t, stack)})
	missing := filepath.Join(t.TempDir(), "none.json")
	for _, test := range []struct {
		stack, url string
		args       []string
		code       int
		want       string
	}{
		{stack, "", nil, 0, opaque},
		{"vendor", "", nil, 0, opaque},
		{"", localURL(t, stack), nil, 0, opaque},
		{stack, dead, nil, 0, opaque},
		{"vendor", dead, nil, 0, opaque},
		{missing, localURL(t, stack), nil, exitNotFound, "TOKEN_STACK: "},
		{"none", localURL(t, stack), nil, exitNotFound, "TOKEN_STACK: "},
		{"other", "", nil, exitNotFound, "TOKEN_STACK: "},
		{missing, "", []string{"--local", stack}, 0, opaque},
		{missing, "", []string{"--stack", "vendor"}, 0, opaque},
		{missing, dead, []string{"--api", localURL(t, stack)}, 0, opaque},
		{stack, "", []string{"--api", dead}, exitTemporary, "cannot be reached"},
		{stack, "", []string{"--stack", "none"}, exitNotFound, "--stack: "},
		{stack, "", []string{"--local", missing}, exitNotFound, "--local: "},
		{"", "", nil, exitUsage, "TOKEN_STACK"},
	} {
		t.Setenv("TOKEN_STACK", test.stack)
		t.Setenv("TOKEN_URL", test.url)
		out, errs, code := vendctl(t, append(test.args, "get", "billing")...)
		if code != test.code || !strings.Contains(out+errs, test.want) {
			t.Errorf("%q, %q, %v: got %d, %q, %q; want %d with %q", test.stack, test.url, test.args, code, out, errs, test.code, test.want)
		}
	}
}

func localURL(t *testing.T, file string) string {
	t.Helper()
	s, err := (&access{local: file}).readStack()
	if err != nil {
		t.Fatal(err)
	}
	return s.TokenURL
}

// A file is checked without the vendor that the variable names.
func TestFileIsCheckedWithoutTheStackOfTheVariable(t *testing.T) {
	o := newOperated(t)
	file := filepath.Join(t.TempDir(), "document.json")
	if err := os.WriteFile(file, []byte(o.document(t, nil)), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("TOKEN_STACK", "vendor")
	if out, errs, code := vendctl(t, "client", "check", file); code != 0 || !strings.Contains(out, "method") {
		t.Errorf("got %d, %q, %q", code, out, errs)
	}
	if _, errs, code := vendctl(t, "client", "list"); code != exitUsage || !strings.Contains(errs, "TOKEN_STACK: in which region") {
		t.Errorf("without a region: got %d, %q", code, errs)
	}
}

// Commands for operators work on the stack of the variable, and never on that of TOKEN_URL.
func TestStackVariableNamesTheStackOfOperators(t *testing.T) {
	o := newOperated(t)
	o.seed(t, "local/clients/billing", o.document(t, nil))
	t.Setenv("TOKEN_STACK", o.stack)
	for _, args := range [][]string{{"client", "list"}, {"client", "show", "billing"}} {
		if out, errs, code := vendctl(t, args...); code != 0 || !strings.Contains(out, "billing") {
			t.Errorf("%v: got %d, %q, %q", args, code, out, errs)
		}
	}
	t.Setenv("TOKEN_STACK", "")
	t.Setenv("TOKEN_URL", localURL(t, o.stack))
	for _, args := range [][]string{{"client", "list"}, {"audit"}, {"who-holds", "billing"}, {"dead-letters"}, {"freeze", "billing"}, {"client", "reread", "billing"}} {
		if _, errs, code := vendctl(t, args...); code != exitUsage || !strings.Contains(errs, "TOKEN_STACK") {
			t.Errorf("%v: got %d, %q", args, code, errs)
		}
	}
}

// A shell completes the clients of the stack of the variable, unless the line names another one.
func TestStackVariableIsCompleted(t *testing.T) {
	t.Setenv("TOKEN_STACK", vendor(t))
	other := changedStack(t, map[string]any{"clients": []map[string]string{{"name": "other"}}})
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"__complete", "get", ""}, "billing\njwt\n"},
		{[]string{"__completeNoDesc", "get", ""}, "billing\njwt\n"},
		{[]string{"__complete", "--local", other, "get", ""}, "other\n"},
	} {
		if out, errs, code := vendctl(t, test.args...); code != 0 || !strings.HasPrefix(out, test.want) {
			t.Errorf("%v: got %d, %q, %q, want %q", test.args, code, out, errs, test.want)
		}
	}
}

func TestServeTakesTheStackVariable(t *testing.T) {
	stack := vendor(t)
	t.Setenv("TOKEN_STACK", stack)
	if _, errs, code := vendctl(t, "serve", "--role-arn", "arn:aws:iam::123456789012:role/x"); code != exitUsage || !strings.Contains(errs, "--role-arn") {
		t.Errorf("--role-arn: got %d, %q", code, errs)
	}
	// The first request for a token ends it.
	calls := make(chan string, 1)
	api := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { calls <- r.Header.Get("Authorization") }))
	defer api.Close()
	file, address, ended := filepath.Join(t.TempDir(), "secret"), freeAddress(t), make(chan int, 1)
	go func() {
		_, _, code := vendctl(t, "serve", "-q", "--listen", address, "--local-secret-file", file, "--oneshot", "--route", "a=billing@"+api.URL)
		ended <- code
	}()
	status := 0
	for end := time.Now().Add(20 * time.Second); !statusOf(t, address, file, &status); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("serve does not answer")
		}
	}
	if code := <-ended; code != 0 || status != http.StatusOK {
		t.Errorf("got the exit code %d and the status %d", code, status)
	}
	if got := <-calls; got != "Bearer "+opaque {
		t.Errorf("got a request with %d characters of authorization, want the token of the stack", len(got))
	}
}

// statusOf calls a route when its endpoint listens.
func statusOf(t *testing.T, address, file string, status *int) bool {
	t.Helper()
	secret, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	resp, err := http.Get("http://" + address + "/r/a/~" + string(secret) + "/") //nolint:noctx // a test
	if err != nil {
		return false
	}
	*status = resp.StatusCode
	_ = resp.Body.Close()
	return true
}
