package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// stalled is a writer that waits until it is opened, or for ever.
type stalled struct {
	open  chan struct{}
	lines bytes.Buffer // of one goroutine
}

func (s *stalled) Write(p []byte) (int, error) {
	<-s.open
	return s.lines.Write(p)
}

// mustLogon gets a token of serve.
func mustLogon(t *testing.T, address, secret string) {
	t.Helper()
	within, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"billing"}, "client_secret": {secret}}
	req, err := http.NewRequestWithContext(within, http.MethodPost, "http://"+address+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("got %v, want a token", err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("got %d, want a token", resp.StatusCode)
	}
}

// Programs get their tokens though the reader of the log stalls. When that goes on, each line is
// there, or is counted.
func TestReaderOfTheLogStalls(t *testing.T) {
	log := &stalled{open: make(chan struct{})}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	address, secret, ended := serveWriting(t, ctx, log)
	const tokens = maxLines + 100
	for range tokens {
		mustLogon(t, address, secret)
	}
	close(log.open)
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("got the exit code %d", code)
	}
	written, dropped := 0, 0
	for text := range strings.Lines(log.lines.String()) {
		var line struct {
			Type  string
			Lines int
		}
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("got the line %q", text)
		}
		if dropped += line.Lines; line.Type == "token" {
			written++
		}
	}
	if written < maxLines || dropped == 0 || written+dropped != tokens {
		t.Errorf("got %d lines of tokens, %d that are counted, want %d in sum", written, dropped, tokens)
	}
}

// A reader that never goes on does not hold the end of serve.
func TestLogThatStallsEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &stalled{open: make(chan struct{})}
		q := newLineQueue(log)
		for range maxLines + 2 {
			_, _ = io.WriteString(q, "x\n")
			synctest.Wait()
		}
		begun := time.Now()
		q.close()
		if took := time.Since(begun); took != lastLinesTime {
			t.Errorf("the end took %v, want %v", took, lastLinesTime)
		}
		close(log.open)
		q.close()
		if got := log.lines.String(); strings.Count(got, "x\n") != maxLines+1 || strings.Count(got, `"type":"dropped","lines":1}`) != 1 {
			t.Errorf("got %d bytes, want each line and the count of the others", len(got))
		}
	})
}

// full is a disk that has little space left.
type full struct {
	lines bytes.Buffer
	space int
}

func (f *full) Write(p []byte) (int, error) {
	n, _ := f.lines.Write(p[:min(len(p), f.space)])
	if f.space -= n; n < len(p) {
		return n, errors.New("full")
	}
	return n, nil
}

// A line that was written in part does not spoil the next one.
func TestDiskOfTheLogIsFull(t *testing.T) {
	disk := &full{space: 3}
	q := &lineQueue{to: disk}
	for _, space := range []int{3, 0, 100} {
		disk.space = space
		q.write([]byte("line\n"))
	}
	if got := disk.lines.String(); got != "lin\nline\n" {
		t.Errorf("got %q", got)
	}
}

// A program that reads the log and ends, such as head, does not end serve.
func TestReaderOfTheLogEnds(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals")
	}
	binary, stack := build(t), vendor(t)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = reader.Close()
	defer func() { _ = writer.Close() }()
	listen, file := freeAddress(t), filepath.Join(t.TempDir(), "secret")
	cmd := exec.Command(binary, "--local", stack, "serve", "-q", "--listen", listen, "--local-secret-file", file) //nolint:noctx // it is killed
	cmd.Stdout = writer
	startServe(t, cmd, listen)
	secret, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		mustLogon(t, listen, string(secret))
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("got %v, want a clean end", err)
	}
}
