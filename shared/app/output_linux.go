package app

import (
	"io"
	"os"
	"syscall"
)

// takes returns a function that reports whether a pipe takes less than pipeBuf bytes without a
// wait; nil if to is no pipe.
func takes(to io.Writer) func() bool {
	file, ok := to.(*os.File)
	if !ok {
		return nil
	}
	info, err := file.Stat()
	if err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return nil
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return nil
	}
	var fd int
	if raw.Control(func(n uintptr) { fd = int(n) }) != nil {
		return nil
	}
	const sets = len(syscall.FdSet{}.Bits)
	const most, bits = 1024, 1024 / sets // of file descriptors in a set, and in one of its numbers
	return func() bool {
		var set syscall.FdSet
		if fd >= most {
			return false
		}
		set.Bits[fd/bits] |= 1 << (fd % bits)
		n, err := syscall.Select(fd+1, nil, &set, nil, &syscall.Timeval{})
		return n == 1 && err == nil
	}
}
