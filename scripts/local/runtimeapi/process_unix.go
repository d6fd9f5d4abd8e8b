//go:build unix

package runtimeapi

import (
	"errors"
	"os/exec"
	"syscall"
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
func (r *Runtime) Freeze() error { return r.signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (r *Runtime) Thaw() error { return r.signal(syscall.SIGCONT) }

func (r *Runtime) signal(sig syscall.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.proc == nil {
		return errors.New("runtimeapi: no process")
	}
	return syscall.Kill(-r.proc.cmd.Process.Pid, sig)
}
