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

// ownGroup gives the process a process group of its own. Ctrl-C then reaches only the
// parent, which ends the function itself, and killGroup reaches the function's children.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

// killGroup kills the process and its children. After the process was waited for, its
// group exists only while a child lives; without a child the call fails, which is
// harmless.
func killGroup(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
}

// Freeze stops the process as Lambda does between events. Requests on open connections
// get no answer until Thaw. It fails if no process runs, and with errors.ErrUnsupported
// on Windows. Unlike in Lambda, the monotonic clock of the process continues.
func (r *Runtime) Freeze() error {
	pid, err := r.signal(syscall.SIGSTOP)
	if err != nil {
		return err
	}
	// The signal may not have arrived when kill returns: a thread on another processor
	// may still answer.
	for range 200 {
		if isStopped(pid) {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return errors.New("runtimeapi: the process does not stop")
}

// isStopped reports whether all threads of a process are stopped. Without /proc it
// waits long enough instead.
func isStopped(pid int) bool {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(stats) == 0 {
		time.Sleep(50 * time.Millisecond)
		return true
	}
	for _, file := range stats {
		// A thread that has ended meanwhile has no file.
		if text, err := os.ReadFile(file); err == nil && !strings.Contains(string(text), ") T ") {
			return false
		}
	}
	return true
}

// Thaw continues a process that Freeze stopped.
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
