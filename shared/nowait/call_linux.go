//go:build !race

package nowait

import (
	"syscall"
	"unsafe"
)

func read(fd int, p []byte) (int, syscall.Errno) { return call(syscall.SYS_READ, fd, p) }

func write(fd int, p []byte) (int, syscall.Errno) { return call(syscall.SYS_WRITE, fd, p) }

// call returns 0 bytes with a failure.
func call(number uintptr, fd int, p []byte) (int, syscall.Errno) {
	// #nosec G103 -- the kernel takes a pointer
	n, _, failure := syscall.RawSyscall(number, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if failure != 0 {
		return 0, failure
	}
	return int(n), 0
}
