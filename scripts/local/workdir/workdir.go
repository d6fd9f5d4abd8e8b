// Package workdir has the temporary directory of a local stack: binaries, certificates,
// documents, the log and a description. It finds stacks that are running, and deletes what
// stacks left behind that were killed. It imports nothing but the standard library, so that
// the launcher compiles quickly.
package workdir

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	pattern = "token-vendor-local-"
	// ownedFile lists what a stack has outside its directory.
	ownedFile = "owned.json"
	// DescriptionFile describes a stack that is running, in the format of the flag -json.
	DescriptionFile = "stack.json"
	// Variable is the environment variable by which the launcher tells the stack its directory.
	Variable = "TOKEN_VENDOR_LOCAL_DIR"
)

// Dir is the directory of a stack. It is locked while a process has it.
type Dir struct {
	path string
	lock *os.File // nil: another process has the lock
}

// New makes a directory in the directory for temporary files, and locks it.
func New() (*Dir, error) {
	for {
		path, err := os.MkdirTemp("", pattern)
		if err != nil {
			return nil, err
		}
		// Until the lock is taken, another stack may take the directory for one that was left
		// behind and delete it.
		lock, ok := lock(path)
		if !ok {
			continue
		}
		if _, err := os.Stat(path); err == nil {
			return &Dir{path: path, lock: lock}, nil
		}
		unlock(lock)
	}
}

// Use returns the directory that the launcher has locked for this process.
func Use(path string) *Dir { return &Dir{path: path} }

// Path returns the path of the directory.
func (d *Dir) Path() string { return d.path }

// Binary returns the path of a binary.
func (d *Dir) Binary(name string) string { return filepath.Join(d.path, name+executableSuffix) }

// owned is what a stack has outside its directory.
type owned struct {
	// Files describe the stack to programs.
	Files []string `json:"files,omitempty"`
	// GoBuild are directories that the go command made to run the launcher. It deletes them,
	// unless it is killed.
	GoBuild []string `json:"go_build,omitempty"`
}

// OwnFiles notes files that contain the path of the directory. They are deleted with it.
func (d *Dir) OwnFiles(files ...string) error {
	return d.own(func(o *owned) error {
		for _, file := range files {
			absolute, err := filepath.Abs(file)
			if err != nil {
				return err
			}
			o.Files = append(o.Files, absolute)
		}
		return nil
	})
}

// OwnGoBuild notes the directories of [GoBuild]. They are deleted with the directory if the
// stack was killed.
func (d *Dir) OwnGoBuild(paths []string) error {
	return d.own(func(o *owned) error { o.GoBuild = paths; return nil })
}

func (d *Dir) own(change func(*owned) error) error {
	o := readOwned(d.path)
	if err := change(&o); err != nil {
		return err
	}
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(d.path, ownedFile), text, 0o600)
}

func readOwned(path string) (o owned) {
	text, err := os.ReadFile(filepath.Join(path, ownedFile)) // #nosec G304 -- in the stack's directory
	if err != nil || json.Unmarshal(text, &o) != nil {
		return owned{}
	}
	return o
}

// Remove deletes the directory and the files of OwnFiles, and releases the lock.
func (d *Dir) Remove() error {
	err := remove(d.path, false)
	if d.lock != nil {
		unlock(d.lock)
	}
	// Windows cannot delete what is open.
	return errors.Join(err, os.RemoveAll(d.path))
}

// remove deletes what a stack has. killed: also what its go command left.
func remove(path string, killed bool) error {
	o := readOwned(path)
	for _, file := range o.Files {
		// A file of another stack by now must stay.
		if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), filepath.Base(path)) { // #nosec G304 -- noted by OwnFiles
			_ = os.Remove(file)
		}
	}
	if killed {
		RemoveGoBuild(o.GoBuild)
	}
	if err := os.RemoveAll(path); err != nil && executableSuffix == "" {
		return err
	}
	return nil
}

// Clean deletes what stacks left behind that were killed.
func Clean() {
	for _, path := range all() {
		if lock, ok := lock(path); ok {
			_ = remove(path, true)
			unlock(lock)
			_ = os.RemoveAll(path)
		}
	}
}

// Running returns the descriptions of the stacks that are running, the newest last.
func Running() []string {
	var files []string
	written := make(map[string]time.Time)
	for _, path := range all() {
		file := filepath.Join(path, DescriptionFile)
		info, err := os.Stat(file)
		if err != nil {
			continue
		}
		if lock, ok := lock(path); ok {
			unlock(lock) // its stack was killed
			continue
		}
		files = append(files, file)
		written[file] = info.ModTime()
	}
	slices.SortFunc(files, func(a, b string) int { return written[a].Compare(written[b]) })
	return files
}

// all returns the directories of all stacks of this user.
func all() []string {
	// The pattern has no special characters, and the error is about the pattern.
	paths, _ := filepath.Glob(filepath.Join(os.TempDir(), pattern+"*"))
	var own []string
	for _, path := range paths {
		if info, err := os.Lstat(path); err == nil && info.IsDir() && ownedByUser(info) {
			own = append(own, path)
		}
	}
	return own
}

// GoBuild returns the directories that "go run" made to run the executable: the one that the
// executable is in, or, if that comes from Go's cache, an empty one. The empty ones of other
// go commands cannot be told apart.
func GoBuild(executable string) (paths []string) {
	for path := filepath.Dir(executable); path != filepath.Dir(path); path = filepath.Dir(path) {
		// Go's cache has the name go-build without a number.
		if number, ok := strings.CutPrefix(filepath.Base(path), goBuild); ok && number != "" {
			return []string{path}
		}
	}
	temp := os.Getenv("GOTMPDIR")
	if temp == "" {
		temp = os.TempDir()
	}
	all, _ := filepath.Glob(filepath.Join(temp, goBuild+"*"))
	for _, path := range all {
		if entries, err := os.ReadDir(path); err == nil && len(entries) == 0 {
			paths = append(paths, path)
		}
	}
	return paths
}

// goBuild begins the names of the go command's directories for temporary files.
const goBuild = "go-build"

// RemoveGoBuild deletes directories of [GoBuild] after their go command was killed. Those
// that were empty are deleted only if they still are, which does no harm to another go
// command.
func RemoveGoBuild(paths []string) {
	for _, path := range paths {
		if _, err := os.Stat(filepath.Join(path, "b001", "exe", "local"+executableSuffix)); err == nil {
			_ = os.RemoveAll(path)
		} else {
			_ = os.Remove(path)
		}
	}
}

// WithParent returns a context that ends with the parent process. If that is the go command,
// it passes an interrupt on, but if it is terminated or killed, its program continues.
func WithParent(ctx context.Context, parent int) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		for os.Getppid() == parent && ctx.Err() == nil {
			time.Sleep(200 * time.Millisecond)
		}
	}()
	return ctx
}
