//go:build !unix

package runtimeapi

import (
	"errors"
	"os/exec"
)

// ownGroup does nothing: there are no process groups to kill here.
func ownGroup(*exec.Cmd) {}

// killGroup ends the process at once. What it started lives on.
func killGroup(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
}

// terminate fails: there is no SIGTERM here, so the process is killed at once.
func terminate(*exec.Cmd) error { return errors.ErrUnsupported }

// Freeze returns errors.ErrUnsupported.
func (r *Runtime) Freeze() error { return errors.ErrUnsupported }

// Thaw returns errors.ErrUnsupported.
func (r *Runtime) Thaw() error { return errors.ErrUnsupported }
