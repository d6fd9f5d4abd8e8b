//go:build unix

package runtimeapi

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ownGroup gives the process a group of its own: Ctrl-C reaches only the stack,
// which then ends the function itself, and killGroup reaches its children.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

// killGroup ends the process and its children at once. The group of a process that
// was waited for is still its own while a child of it lives; else the call fails,
// which is what is wanted.
func killGroup(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
}

// terminate asks the process to end.
func terminate(cmd *exec.Cmd) error {
	return cmd.Process.Signal(syscall.SIGTERM)
}

// Freeze stops the process as Lambda does between events. Requests on open
// connections get no answer until Thaw. It fails if no process runs, and with
// errors.ErrUnsupported on Windows. The monotonic clock of the process goes on,
// unlike in Lambda.
func (r *Runtime) Freeze() error {
	pid, err := r.signal(syscall.SIGSTOP)
	if err != nil {
		return err
	}
	// The signal is on its way when kill returns: a thread that runs on another
	// processor may still answer.
	for range 200 {
		if isStopped(pid) {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return errors.New("runtimeapi: the process does not stop")
}

// isStopped reports whether every thread of a process is. Where there is no
// /proc to say so, it waits long enough for it.
func isStopped(pid int) bool {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(stats) == 0 {
		time.Sleep(50 * time.Millisecond)
		return true
	}
	for _, file := range stats {
		// A thread that ended meanwhile has no file any more.
		if text, err := os.ReadFile(file); err == nil && !strings.Contains(string(text), ") T ") {
			return false
		}
	}
	return true
}

// Thaw ends Freeze.
func (r *Runtime) Thaw() error {
	_, err := r.signal(syscall.SIGCONT)
	return err
}

// signal sends sig to the process and its children, and returns its id.
func (r *Runtime) signal(sig syscall.Signal) (pid int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.proc == nil {
		return 0, errors.New("runtimeapi: no process")
	}
	pid = r.proc.cmd.Process.Pid
	return pid, syscall.Kill(-pid, sig)
}
