package nowait

import (
	"io"
	"os"
	"syscall"
	"unsafe"
)

// PipeBuf is how many bytes a pipe takes at once as soon as it takes any: the smallest page.
const PipeBuf = 4096

// Pipe is the end of a pipe that is written to.
type Pipe struct {
	file *os.File // keeps fd open
	fd   int
}

// NewPipe returns nil if w is no pipe. The caller must not close w before the last call of a method.
func NewPipe(w io.Writer) *Pipe {
	file, ok := w.(*os.File)
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
	p := &Pipe{file: file}
	if raw.Control(func(fd uintptr) { p.fd = int(fd) }) != nil {
		return nil
	}
	return p
}

// Takes reports whether a write of at most PipeBuf bytes cannot wait. If others fill the pipe before
// the write, the whole process waits in it. Takes returns false if p is nil.
func (p *Pipe) Takes() bool {
	if p == nil {
		return false
	}
	const pollOut = 4
	asked := struct {
		fd              int32
		events, results int16
	}{fd: int32(p.fd), events: pollOut}
	var atOnce syscall.Timespec
	// #nosec G103 -- ppoll takes pointers
	n, _, failure := syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&asked)), 1, uintptr(unsafe.Pointer(&atOnce)), 0, 0, 0)
	return n == 1 && failure == 0 && asked.results == pollOut
}

// Write implements [io.Writer]. Call it after Takes.
func (p *Pipe) Write(b []byte) (int, error) {
	n, failure := write(p.fd, b)
	if failure != 0 {
		return 0, os.NewSyscallError("write", failure)
	}
	return n, nil
}
