//go:build race

package nowait

import "syscall"

// With the race detector, the calls are those of the scheduler: the detector learns from them what
// happens before what.

func read(fd int, p []byte) (int, syscall.Errno) { return result(syscall.Read(fd, p)) }

func write(fd int, p []byte) (int, syscall.Errno) { return result(syscall.Write(fd, p)) }

func result(n int, err error) (int, syscall.Errno) {
	if failure, ok := err.(syscall.Errno); ok {
		return 0, failure
	}
	return n, 0
}
