package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
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
