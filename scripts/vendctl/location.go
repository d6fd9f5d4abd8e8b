package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"tokenvendor/scripts/vendctl/endpoint"
)

// location is where the local endpoint is.
type location struct{ listen, socket, secretFile, secretGroup string }

func (p *location) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&p.listen, "listen", defaultListen, "address of the endpoint on this machine")
	flags.StringVar(&p.secretFile, "local-secret-file", "", "file of the local secret (default: one for each address in the user's runtime or cache directory)")
}

// check refuses an address that other machines reach.
func (p *location) check() error {
	host, port, err := net.SplitHostPort(p.listen)
	if err != nil || port == "" || !endpoint.IsLoopback(host) {
		return usage("--listen must be an address of this machine only, such as %s", defaultListen)
	}
	return nil
}

// file returns the file of the local secret.
func (p *location) file() (string, error) {
	if p.secretFile != "" {
		return p.secretFile, nil
	}
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		var err error
		if dir, err = os.UserCacheDir(); err != nil {
			return "", usage("there is no directory for the local secret: give --local-secret-file")
		}
	}
	name := strings.NewReplacer(":", "-", "[", "", "]", "", "/", "-").Replace(strings.Trim(p.listen+p.socket, "/"))
	return filepath.Join(dir, "vendctl", name+".secret"), nil
}

// readSecret returns the local secret of a running endpoint.
func (p *location) readSecret() (string, error) {
	file, err := p.file()
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(file) //nolint:gosec // the user names it
	if err != nil {
		return "", fmt.Errorf("the local secret: %w: is vendctl serve running?", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// writeSecret writes a new local secret, which only the user may read, and returns its file. An
// old file is replaced, so that a program that still has the old secret gets 401.
func (p *location) writeSecret(secret string) (file string, err error) {
	if file, err = p.file(); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return "", fmt.Errorf("the local secret: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".secret-") // of mode 0600
	if err != nil {
		return "", fmt.Errorf("the local secret: %w", err)
	}
	_, err = f.WriteString(secret) // without a newline, for curl and others
	if err = errors.Join(err, p.share(f), f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("the local secret: %w", err), os.Remove(f.Name()))
	}
	return file, nil
}

// group returns the number of the group that may read the local secret; -1: there is none.
func (p *location) group() (int, error) {
	switch {
	case p.secretGroup == "":
		return -1, nil
	case p.secretFile == "":
		return -1, usage("--local-secret-group needs --local-secret-file: no group gets to the user's own directory")
	}
	// A container image has no names of groups.
	if id, err := strconv.Atoi(p.secretGroup); err == nil {
		if id < 0 {
			return -1, usage("--local-secret-group: the number of a group is not negative")
		}
		return id, nil
	}
	group, err := user.LookupGroup(p.secretGroup)
	if err != nil {
		return -1, usage("--local-secret-group: there is no such group")
	}
	id, err := strconv.Atoi(group.Gid)
	if err != nil {
		return -1, usage("--local-secret-group: this system has no groups with numbers")
	}
	return id, nil
}

// share lets a group read the local secret.
func (p *location) share(f *os.File) error {
	id, err := p.group()
	if err != nil || id < 0 {
		return err
	}
	return errors.Join(f.Chown(-1, id), f.Chmod(0o640))
}

// open listens at the address or the socket.
func (p *location) open(ctx context.Context) (net.Listener, error) {
	if _, err := p.group(); err != nil {
		return nil, err
	}
	if p.socket == "" {
		if err := p.check(); err != nil {
			return nil, err
		}
		return (&net.ListenConfig{}).Listen(ctx, "tcp", p.listen)
	}
	// A socket of a process that was killed is still there.
	if conn, err := net.Dial("unix", p.socket); err == nil {
		_ = conn.Close()
		return nil, errors.New("--socket: another program listens there")
	}
	if info, err := os.Lstat(p.socket); err == nil && info.Mode()&os.ModeSocket == 0 {
		return nil, usage("--socket: there is a file of this name that is no socket")
	}
	return p.listenOn(ctx)
}

// listenOn makes the socket under another name, so that nobody can connect before its mode is set.
func (p *location) listenOn(ctx context.Context) (net.Listener, error) {
	dir, err := os.MkdirTemp(filepath.Dir(p.socket), ".vendctl-") // of mode 0700
	if err != nil {
		return nil, fmt.Errorf("--socket: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	hidden := filepath.Join(dir, "s")
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", hidden)
	if err != nil {
		return nil, fmt.Errorf("--socket: %w", err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	err = os.Chmod(hidden, 0o600)
	if group, problem := p.group(); problem != nil || group >= 0 {
		err = errors.Join(err, problem, os.Chown(hidden, -1, group), os.Chmod(hidden, 0o660)) //nolint:gosec // the group is meant
	}
	if err == nil {
		err = os.Rename(hidden, p.socket)
	}
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}
