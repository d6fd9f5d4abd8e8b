package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A colour moves no column.
func TestDoctorHasColoursOnATerminalOnly(t *testing.T) {
	d := &doctor{findings: []finding{{"clock", "ok", "it differs by 0s", ""}, {"name", "failed", "x does not resolve", "check the URL"}, {"credentials", "warning", "d", ""}}}
	var plain, painted bytes.Buffer
	if d.print(&plain, "table", false) != nil || d.print(&painted, "table", true) != nil {
		t.Fatal("the table cannot be printed")
	}
	codes := regexp.MustCompile("\x1b\\[[0-9]+m")
	if codes.Match(plain.Bytes()) || !strings.Contains(painted.String(), "\x1b[31mfailed\x1b[0m") || codes.ReplaceAllString(painted.String(), "") != plain.String() {
		t.Errorf("got %q and %q", plain.String(), painted.String())
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if colored(file) {
		t.Error("a file gets colours")
	}
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("there is no terminal")
	}
	defer func() { _ = terminal.Close() }()
	for value, want := range map[string]bool{"": true, "1": false} {
		t.Setenv("NO_COLOR", value)
		t.Setenv("TERM", "xterm")
		if colored(terminal) != want {
			t.Errorf("a terminal with NO_COLOR=%q: got colours %v, want %v", value, !want, want)
		}
	}
}

func TestManualPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "share", "man1") // which is made
	if _, errs, code := vendctl(t, "man", dir); code != 0 {
		t.Fatalf("got %d, %s", code, errs)
	}
	for file, want := range map[string]string{
		"vendctl.1": "exit codes", "vendctl-get.1": "min-ttl", "vendctl-serve.1": "local secret", "vendctl-client-add.1": "p12-password-file",
		"vendctl-dead-letters.1": "prints", "vendctl-dead-letters-redrive.1": "dry-run",
	} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil || !strings.Contains(strings.ToLower(strings.ReplaceAll(string(text), `\-`, "-")), want) {
			t.Errorf("%s: got error %v, want %q in it", file, err, want)
		}
	}
}

// -v says what is called, and no token.
func TestVerboseSaysWhatIsCalled(t *testing.T) {
	out, errs, code := vendctl(t, "--local="+vendor(t), "get", "billing", "-v")
	if code != 0 || out != opaque+"\n" || !strings.Contains(errs, "client=billing") || !strings.Contains(errs, "took=") {
		t.Errorf("got %d, %q, %q", code, out, errs)
	}
}
