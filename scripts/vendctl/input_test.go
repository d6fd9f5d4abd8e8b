package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// runUntil runs a command, interrupts it after a time, and returns what it says.
func runUntil(t *testing.T, interrupt time.Duration, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), interrupt)
	defer cancel()
	var out, errs lockedBuffer
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, args, &out, &errs) }()
	select {
	case code = <-ended:
	case <-time.After(30 * time.Second):
		t.Fatalf("%v does not end", args)
	}
	return out.String(), errs.String(), code
}

// A command that waits for standard input ends at an interrupt.
func TestInterruptEndsReading(t *testing.T) {
	stack := "--local=" + vendor(t)
	t.Setenv("AWS_REGION", "eu-central-1")
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	before := os.Stdin
	os.Stdin = reader
	t.Cleanup(func() {
		os.Stdin = before
		_ = writer.Close()
	})
	for _, args := range [][]string{
		{stack, "token", "-"}, {"policy", "check", "-"}, {"policy", "test", "-", "--caller", "direct:x", "--client", "billing"}, {"client", "check", "-"},
		{stack, "client", "add", "billing", "--client-id", "c", "--token-url", "https://as.example.com/token", "--secret-file", "-"},
	} {
		if out, errs, code := runUntil(t, 200*time.Millisecond, args...); code != exitInterrupted || out != "" || errs != "vendctl: interrupted\n" {
			t.Errorf("%v: got %d, %q, %q", args, code, out, errs)
		}
	}
}

// An interrupt is not reported as a problem of the network or the vendor.
func TestInterruptIsNamed(t *testing.T) {
	b := newBuried(t)
	for _, args := range [][]string{{"get", "billing"}, {"doctor", "billing"}, {"explain", "billing"}, {"client", "list"}, {"dead-letters"}, {"dead-letters", "redrive", "--id", "x"}} {
		want := "vendctl: interrupted\n"
		if args[0] == "dead-letters" {
			want = "vendctl: interrupted: up to 10 messages may be hidden for 5m0s\n"
		}
		if out, errs, code := runUntil(t, 0, append([]string{"--local", b.stack}, args...)...); code != exitInterrupted || out != "" || errs != want {
			t.Errorf("%v: got %d, %q, %q, want %q", args, code, out, errs, want)
		}
	}
}

// A terminal does not show a secret that is typed, and shows what comes after an interrupt.
func TestTypedSecretIsNotShown(t *testing.T) {
	master, slave := openTerminal(t)
	state := func() *term.State {
		s, err := term.GetState(int(slave.Fd()))
		if err != nil {
			t.Skip("there is no terminal")
		}
		return s
	}
	before := state()
	for _, interrupted := range []bool{false, true} {
		ctx, interrupt := context.WithCancel(t.Context())
		var prompt bytes.Buffer
		cmd := &cobra.Command{}
		cmd.SetContext(ctx)
		cmd.SetIn(slave)
		cmd.SetErr(&prompt)
		go func() {
			for reflect.DeepEqual(state(), before) {
				time.Sleep(time.Millisecond)
			}
			if interrupted {
				interrupt()
			} else if _, err := io.WriteString(master, "cnry-typed\n"); err != nil {
				t.Error(err)
			}
		}()
		text, err := partFile{"secret-file", "client_secret", "-"}.read(cmd)
		if (err != nil) != interrupted || (string(text) == "cnry-typed") == interrupted || prompt.String() != "client_secret: \n" {
			t.Errorf("interrupted %t: got %d bytes, %v and the prompt %q", interrupted, len(text), err, prompt.String())
		}
		if !reflect.DeepEqual(state(), before) {
			t.Errorf("interrupted %t: the terminal shows nothing any more", interrupted)
		}
		interrupt()
	}
	if _, err := io.WriteString(slave, "end"); err != nil {
		t.Fatal(err)
	}
	shown := make([]byte, 100)
	if n, err := master.Read(shown); err != nil || strings.Contains(string(shown[:n]), "cnry-") {
		t.Errorf("the terminal shows %q, %v", shown[:n], err)
	}
}

// A device may have no end, and a directory no content.
func TestFileWithoutEndIsRefused(t *testing.T) {
	for name, want := range map[string]string{"/dev/zero": "it is larger than 1 MiB", t.TempDir(): "is a directory"} {
		if _, err := os.Stat(name); err != nil {
			continue // not on this system
		}
		if _, errs, code := vendctl(t, "client", "check", name); code == 0 || !strings.Contains(errs, want) {
			t.Errorf("got %d, %q, want %q", code, errs, want)
		}
	}
}
