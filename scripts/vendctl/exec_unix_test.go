//go:build unix

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

// A program gets the signals that vendctl gets.
func TestExecForwardsSignals(t *testing.T) {
	binary, stack := build(t), vendor(t)
	for name, one := range map[string]syscall.Signal{"QUIT": syscall.SIGQUIT, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2, "INT": syscall.SIGINT, "TERM": syscall.SIGTERM} {
		cmd := exec.Command(binary, "--local", stack, "exec", "billing", "--", "sh", "-c", //nolint:noctx // it is ended below
			"trap 'exit 6' QUIT USR1 USR2 INT TERM; trap 'exit 5' "+name+"; echo ready; while :; do sleep 0.1; done")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // without the terminal of the test
		startReady(t, cmd)
		if err := cmd.Process.Signal(one); err != nil {
			t.Fatal(err)
		}
		var exit *exec.ExitError
		if ok := asExit(cmd.Wait(), &exit); !ok || exit.ExitCode() != 5 {
			t.Errorf("%s: got %v, want the exit code of the program's trap", name, exit)
		}
	}
}

// counting makes the test binary the program of TestExecLeavesKeysToTheTerminal.
const counting = "VENDCTL_TEST_COUNTS_SIGNALS"

// TestCountSignals is a program whose exit code is 10 and the number of signals before SIGTERM.
func TestCountSignals(t *testing.T) {
	if os.Getenv(counting) == "" {
		t.Skip("is the program of another test")
	}
	received, n := make(chan os.Signal, 8), 0
	signal.Notify(received, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM)
	fmt.Println("ready")
	for one := range received {
		if one == syscall.SIGTERM {
			os.Exit(10 + n)
		}
		n++
	}
}

// Ctrl-C and Ctrl-\ of a terminal reach a program once, also if its standard input is a pipe.
func TestExecLeavesKeysToTheTerminal(t *testing.T) {
	binary, stack := build(t), vendor(t)
	t.Setenv(counting, "1")
	for _, piped := range []bool{false, true} {
		master, slave := openTerminal(t)
		cmd := exec.Command(binary, "--local", stack, "exec", "billing", "--", os.Args[0], "-test.run=^TestCountSignals$") //nolint:noctx // it is ended below
		cmd.ExtraFiles = []*os.File{slave}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 3}
		if cmd.Stdin = slave; piped {
			reader, writer, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _, _ = reader.Close(), writer.Close() }()
			cmd.Stdin = reader
		}
		startReady(t, cmd)
		for _, key := range []string{"\x03", "\x1c"} {
			if _, err := io.WriteString(master, key); err != nil {
				t.Fatal(err)
			}
			time.Sleep(200 * time.Millisecond)
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		var exit *exec.ExitError
		if ok := asExit(cmd.Wait(), &exit); !ok || exit.ExitCode() != 12 {
			t.Errorf("piped %t: got %v, want the exit code of a program that got two signals", piped, exit)
		}
	}
}
