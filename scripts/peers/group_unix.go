//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// ownGroup starts a server in a process group of its own, so that a script ends with its
// children.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// terminateGroup asks the server and its children to end. It ignores errors: a group that
// does not exist has ended.
func terminateGroup(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }

// killGroup ends the server and its children at once.
func killGroup(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
