//go:build unix

package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tokenvendor/scripts/local/workdir"
)

// stack is a stack that the README's command started, in a process group of its own.
type stack struct {
	cmd  *exec.Cmd
	temp string
	json string
}

// startStack runs the README's command until the stack is up, with its own directory for
// temporary files.
func startStack(t *testing.T, temp string, env ...string) *stack {
	t.Helper()
	s := &stack{temp: temp, json: filepath.Join(t.TempDir(), "stack.json")}
	s.cmd = exec.Command("go", "run", "./scripts/local", "-json", s.json)
	s.cmd.Dir = filepath.Join("..", "..")
	s.cmd.Env = append(append(os.Environ(), "TMPDIR="+temp), env...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) })
	up := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "Press Ctrl-C") {
				up <- true
			}
		}
		close(up)
	}()
	select {
	case ok := <-up:
		if !ok {
			t.Fatal("the stack ended")
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the stack is not up after two minutes")
	}
	return s
}

// processes returns the processes of the stack's group whose name begins with name.
func (s *stack) processes(t *testing.T, name string) (ids []int) {
	t.Helper()
	out, err := exec.Command("ps", "-A", "-o", "pid=,pgid=,comm=").Output()
	if err != nil {
		t.Skip("ps is not installed")
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[1] != strconv.Itoa(s.cmd.Process.Pid) || !strings.HasPrefix(filepath.Base(fields[2]), name) {
			continue
		}
		id, err := strconv.Atoi(fields[0])
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func (s *stack) kill(t *testing.T, signal syscall.Signal, name string) {
	t.Helper()
	ids := s.processes(t, name)
	if len(ids) == 0 {
		t.Fatalf("there is no process %q", name)
	}
	for _, id := range ids {
		if err := syscall.Kill(id, signal); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEveryEndOfTheStackLeavesNothing: after each way to end the stack, the next start has
// nothing left in the directory for temporary files, and no file describes a stack that does
// not run.
func TestEveryEndOfTheStackLeavesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the stack several times")
	}
	cache := t.TempDir() // the go command runs programs from its cache, too
	for _, test := range []struct {
		name string
		end  func(t *testing.T, s *stack)
		// killed means that only the next start can delete what is left.
		killed bool
		env    []string
	}{
		{name: "interrupt of the terminal", end: func(_ *testing.T, s *stack) { _ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGINT) }},
		{name: "closed terminal", end: func(_ *testing.T, s *stack) { _ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGHUP) }},
		{name: "go terminated", end: func(t *testing.T, s *stack) { s.kill(t, syscall.SIGTERM, "go") }},
		{name: "go killed", end: func(t *testing.T, s *stack) { s.kill(t, syscall.SIGKILL, "go") }, env: []string{"GOTMPDIR=" + cache}},
		{name: "launcher killed", end: func(t *testing.T, s *stack) { s.kill(t, syscall.SIGKILL, "local") }},
		{name: "stack killed", end: func(t *testing.T, s *stack) { s.kill(t, syscall.SIGKILL, "stack") }},
		{name: "all killed", end: func(_ *testing.T, s *stack) { _ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) }, killed: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			temp := t.TempDir()
			s := startStack(t, temp, test.env...)
			test.end(t, s)
			_ = s.cmd.Wait()
			if test.killed {
				// A killed process is not gone at once, and its directory is in use until then.
				for end := time.Now().Add(5 * time.Second); len(s.processes(t, "")) > 0 && time.Now().Before(end); {
					time.Sleep(10 * time.Millisecond)
				}
				t.Setenv("TMPDIR", temp)
				workdir.Clean()
			}
			for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
				left, err := os.ReadDir(temp)
				if err != nil {
					t.Fatal(err)
				}
				_, described := os.Stat(s.json)
				running := s.processes(t, "")
				if len(left) == 0 && os.IsNotExist(described) && len(running) == 0 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%v exist, the description %v, the processes %v run", left, described, running)
				}
			}
			if left, err := os.ReadDir(cache); err != nil || len(left) != 0 {
				t.Errorf("%v exist in GOTMPDIR, %v", left, err)
			}
		})
	}
}

// TestStartDeletesNothingOfAnotherStack: several stacks may run at once.
func TestStartDeletesNothingOfAnotherStack(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	other, err := workdir.New()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "stack.json")
	if err := os.WriteFile(file, []byte(other.Path()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := other.OwnFiles(file); err != nil {
		t.Fatal(err)
	}
	workdir.Clean()
	for _, path := range []string{other.Path(), file} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	if err := other.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the description outlived its stack: %v", err)
	}
}
