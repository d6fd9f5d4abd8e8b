//go:build unix

package main

import (
	"os"
	"syscall"
)

// forwarded are the signals that a program of exec gets from vendctl.
func forwarded() []os.Signal {
	return []os.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2}
}
