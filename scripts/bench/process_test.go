package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMain runs the tests in the repository's folder, as users run the program.
func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// A process may have been idle for longer than a poll may take.
func TestProcessTakesEventsAfterIdling(t *testing.T) {
	ours, theirs := net.Pipe()
	defer func() { _ = theirs.Close() }()
	p := &process{conn: ours, in: bufio.NewReader(ours)}
	done := make(chan error, 1)
	go func() {
		answers := bufio.NewReader(theirs)
		event, err := http.ReadResponse(answers, nil)
		if err != nil {
			done <- err
			return
		}
		_ = event.Body.Close()
		_, _ = fmt.Fprint(theirs, "POST /response HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok")
		if _, err = http.ReadResponse(answers, nil); err == nil {
			_, _ = fmt.Fprint(theirs, "GET /next HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		done <- err
	}()
	if err := ours.SetDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	answer, failed, err := p.handle(nil, "id")
	if string(answer) != "ok" || failed || err != nil {
		t.Fatalf("got %q, %v, %v", answer, failed, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRequestsWakeOneThread proves that a process which was idle wakes up the thread that works, and
// not the monitor of Go's scheduler beside it. Each call of a server could do so, and the log.
func TestRequestsWakeOneThread(t *testing.T) {
	if testing.Short() || runtime.GOOS != "linux" {
		t.Skip("builds a function, and reads /proc")
	}
	e, err := newEnv(t.Context(), envConfig{life: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	s := &speedRun{cfg: speedConfig{misses: 160}, env: e}
	defer func() {
		s.close()
		if err := e.close(); err != nil {
			t.Error(err)
		}
	}()
	if s.event, err = os.ReadFile("events/rest-v1.json"); err != nil {
		t.Fatal(err)
	}
	if err := s.addClients(); err != nil {
		t.Fatal(err)
	}
	p, err := (&candidate{binary: e.binary, vars: append(e.vars, "SECRET_PREFIX=token-vendor/clients/")}).start(t.Context(), 256)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	}()
	for _, kind := range []struct {
		name   string
		events [][]byte
		most   int // waits in ten requests
	}{
		{"hit", slices.Repeat([][]byte{s.event}, 160), 30},
		{"miss", s.others, 68},
	} {
		before, halfway := 0, len(kind.events)/2
		for n, event := range kind.events {
			if n == halfway { // until then the process gets warm
				before = waits(t, p.cmd.Process.Pid)
			}
			time.Sleep(2 * time.Millisecond)
			if _, err := p.callEach([][]byte{event}); err != nil {
				t.Fatal(err)
			}
		}
		used := 10 * (waits(t, p.cmd.Process.Pid) - before) / halfway
		if used > kind.most {
			t.Errorf("the threads of the process waited %d times in ten requests (%s), want at most %d", used, kind.name, kind.most)
		}
	}
}

// waits returns how often the threads of a process have waited so far.
func waits(t *testing.T, pid int) (total int) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d threads, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(text), "\nvoluntary_ctxt_switches:")
		var n int
		if _, err := fmt.Sscan(after, &n); err != nil {
			t.Fatal(err)
		}
		total += n
	}
	return total
}
