//go:build !unix

package runtimeapi

import (
	"errors"
	"os/exec"
)

// ownGroup does nothing: there are no process groups here.
func ownGroup(*exec.Cmd) {}

// killGroup kills the process. Its children continue.
func killGroup(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
}

// Freeze returns errors.ErrUnsupported.
func (r *Runtime) Freeze() error { return errors.ErrUnsupported }

// Thaw returns errors.ErrUnsupported.
func (r *Runtime) Thaw() error { return errors.ErrUnsupported }
