//go:build unix

package main

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// A program gets the signals that vendctl gets. Ctrl-C of a terminal is its own already.
func TestExecForwardsSignals(t *testing.T) {
	binary, stack := build(t), vendor(t)
	_, terminal := openTerminal(t)
	for _, test := range []struct {
		name    string
		signals []syscall.Signal
		stdin   *os.File // nil: no terminal
	}{
		{"QUIT", []syscall.Signal{syscall.SIGQUIT}, nil}, {"USR1", []syscall.Signal{syscall.SIGUSR1}, nil}, {"USR2", []syscall.Signal{syscall.SIGUSR2}, nil},
		{"INT", []syscall.Signal{syscall.SIGINT}, nil}, {"TERM", []syscall.Signal{syscall.SIGINT, syscall.SIGTERM}, terminal},
	} {
		cmd := exec.Command(binary, "--local", stack, "exec", "billing", "--", "sh", "-c", //nolint:noctx // it is ended below
			"trap 'exit 6' QUIT USR1 USR2 INT TERM; trap 'exit 5' "+test.name+"; echo ready; while :; do sleep 0.1; done")
		if test.stdin != nil {
			cmd.Stdin = test.stdin
		}
		startReady(t, cmd)
		for _, one := range test.signals {
			if err := cmd.Process.Signal(one); err != nil {
				t.Fatal(err)
			}
			time.Sleep(200 * time.Millisecond)
		}
		var exit *exec.ExitError
		if ok := asExit(cmd.Wait(), &exit); !ok || exit.ExitCode() != 5 {
			t.Errorf("%v: got %v, want the exit code of the program's trap", test.signals, exit)
		}
	}
}
