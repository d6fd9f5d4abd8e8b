//go:build !unix

package workdir

import (
	"os"
	"path/filepath"
)

const executableSuffix = ".exe"

// lock locks a directory until unlock or the end of the process, however it ends: Windows
// does not delete a file that is open.
func lock(path string) (*os.File, bool) {
	name := filepath.Join(path, "lock")
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		return nil, false
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600) // #nosec G304 -- in a directory that New made
	return file, err == nil
}

func unlock(file *os.File) { _ = file.Close() }

func ownedByUser(os.FileInfo) bool { return true }
