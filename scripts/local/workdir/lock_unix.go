//go:build unix

package workdir

import (
	"os"
	"syscall"
)

const executableSuffix = ""

// lock locks a directory until unlock or the end of the process, however it ends.
func lock(path string) (*os.File, bool) {
	directory, err := os.Open(path) // #nosec G304 -- a directory that New made
	if err != nil {
		return nil, false
	}
	if syscall.Flock(int(directory.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil { // #nosec G115 -- a file descriptor
		_ = directory.Close()
		return nil, false
	}
	return directory, true
}

func unlock(directory *os.File) { _ = directory.Close() }

func ownedByUser(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Getuid()
}
