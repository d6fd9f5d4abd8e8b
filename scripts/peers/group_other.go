//go:build !unix

package main

import "os/exec"

// There are no process groups to signal here: what a server starts must end with it.

func ownGroup(*exec.Cmd) {}

func terminateGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }

func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
