//go:build !unix

package main

import (
	"os"
	"syscall"
)

// forwarded are the signals that a program of exec gets from vendctl.
func forwarded() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} }

// isOfTerminal reports whether the program of exec has got a signal itself, as all programs of a console
// get Ctrl-C.
func isOfTerminal(s os.Signal) bool { return s == os.Interrupt }
