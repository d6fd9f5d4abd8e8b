package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tokenvendor/scripts/vendctl/endpoint"
	"tokenvendor/shared/client"
)

const defaultListen = "127.0.0.1:8973"

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

// writeSecret writes a new local secret, which only the user may read, and returns it. An old
// file is replaced, so that a program that still has the old secret gets 401.
func (p *location) writeSecret() (secret string, err error) {
	file, err := p.file()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return "", fmt.Errorf("the local secret: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".secret-") // of mode 0600
	if err != nil {
		return "", fmt.Errorf("the local secret: %w", err)
	}
	secret = rand.Text()
	_, err = f.WriteString(secret) // without a newline, for curl and others
	if err = errors.Join(err, p.share(f), f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("the local secret: %w", err), os.Remove(f.Name()))
	}
	return secret, nil
}

// share lets a group read the local secret.
func (p *location) share(f *os.File) error {
	if p.secretGroup == "" {
		return nil
	}
	group, err := user.LookupGroup(p.secretGroup)
	if err != nil {
		return usage("--local-secret-group: there is no such group")
	}
	id, err := strconv.Atoi(group.Gid)
	if err != nil {
		return usage("--local-secret-group: this system has no groups with numbers")
	}
	return errors.Join(f.Chown(-1, id), f.Chmod(0o640))
}

func newServe(a *access) *cobra.Command {
	var p location
	var routes []string
	s := &service{}
	role := ""
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Offer a token endpoint on this machine to programs that cannot sign",
		Long: "serve offers POST /oauth2/token on this machine. Any OAuth library gets a vendor's token there: client_id is the name of\n" +
			"the vendor's client, client_secret is the local secret, which serve writes to a file of mode 0600 at its start.\n" +
			"A route /r/NAME/… passes requests on and adds the token.",
		Args: exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			parsed, err := parseRoutes(routes)
			if err != nil {
				return err
			}
			if role != "" {
				if a.as != "" || a.local != "" {
					return usage("--role-arn is not for --local or beside --as")
				}
				a.as = role
			}
			if s.tokens, err = a.open(cmd.Context()); err != nil {
				return err
			}
			s.location, s.routes, s.out, s.log, s.quiet = p, parsed, cmd.ErrOrStderr(), cmd.OutOrStdout(), a.quiet
			return s.serve(cmd.Context())
		},
	}
	p.addFlags(cmd.Flags())
	cmd.Flags().StringVar(&p.socket, "socket", "", "listen on this Unix socket instead")
	cmd.Flags().StringArrayVar(&routes, "route", nil, "NAME=CLIENT@https://host/prefix: /r/NAME/… leads there with the client's token; may be repeated")
	cmd.Flags().StringVar(&p.secretGroup, "local-secret-group", "", "group that may read the local secret too")
	cmd.Flags().StringSliceVar(&s.prefetch, "prefetch", nil, "clients whose tokens are fetched at the start and kept fresh")
	cmd.Flags().BoolVar(&s.oneshot, "oneshot", false, "end after the first token")
	cmd.Flags().StringVar(&role, "role-arn", "", "role to assume for the calls of the vendor")
	cmd.Flags().BoolVar(&s.extension, "lambda-extension", false, "run as a Lambda extension of the name "+extensionName)
	return cmd
}

func parseRoutes(texts []string) (routes []endpoint.Route, err error) {
	for _, text := range texts {
		route, err := endpoint.ParseRoute(text)
		if err != nil {
			return nil, usageError{err}
		}
		routes = append(routes, route)
	}
	return routes, nil
}

// service is one run of the local endpoint.
type service struct {
	location           location
	tokens             *client.Client
	routes             []endpoint.Route
	prefetch           []string
	oneshot, extension bool
	// out is for people, log for the lines of JSON.
	out, log io.Writer
	quiet    bool
}

// serve serves until ctx ends.
func (s *service) serve(ctx context.Context) error {
	listener, err := s.open(ctx)
	if err != nil {
		return err
	}
	secret, err := s.location.writeSecret()
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	file, err := s.location.file()
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	if !s.quiet {
		_, _ = fmt.Fprintf(s.out, "token endpoint: http://%s/oauth2/token\nlocal secret:   %s\n", listener.Addr(), file)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	given := func() {}
	if s.oneshot {
		given = stop
	}
	return s.run(ctx, listener, secret, given)
}

func (s *service) open(ctx context.Context) (net.Listener, error) {
	if s.location.socket == "" {
		if err := s.location.check(); err != nil {
			return nil, err
		}
		return (&net.ListenConfig{}).Listen(ctx, "tcp", s.location.listen)
	}
	// A socket of a process that was killed is still there.
	if conn, err := net.Dial("unix", s.location.socket); err == nil {
		_ = conn.Close()
		return nil, errors.New("--socket: another program listens there")
	}
	if info, err := os.Lstat(s.location.socket); err == nil && info.Mode()&os.ModeSocket == 0 {
		return nil, usage("--socket: there is a file of this name that is no socket")
	}
	_ = os.Remove(s.location.socket)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", s.location.socket)
	if err != nil {
		return nil, err
	}
	return listener, os.Chmod(s.location.socket, 0o600)
}

// run serves listener until ctx ends.
func (s *service) run(ctx context.Context, listener net.Listener, secret string, given func()) error {
	handler, err := endpoint.New(endpoint.Config{
		Tokens: s.tokens, Secret: secret, Routes: s.routes, Socket: s.location.socket != "", Log: s.log, Given: given,
	})
	if err != nil {
		return errors.Join(usageError{err}, listener.Close())
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var background sync.WaitGroup
	var failure error
	if s.extension {
		background.Go(func() {
			defer stop()
			failure = s.extend(ctx)
		})
	} else {
		for _, name := range s.prefetch {
			background.Go(func() { s.keepFresh(ctx, name) })
		}
	}
	ended := context.AfterFunc(ctx, func() {
		closing, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		_ = server.Shutdown(closing)
	})
	defer ended()
	err = server.Serve(listener)
	background.Wait()
	switch {
	case ctx.Err() == nil || !errors.Is(err, http.ErrServerClosed):
		return err
	case errors.Is(failure, context.Canceled):
		return nil
	}
	return failure
}

// extend serves the invocations of a Lambda function. The tokens of prefetch are fetched in
// each, which calls the vendor only if they are due.
func (s *service) extend(ctx context.Context) error {
	e, err := register(ctx)
	if err != nil {
		return err
	}
	return e.run(ctx, func(ctx context.Context) {
		for _, name := range s.prefetch {
			if _, err := s.tokens.Token(ctx, client.Request{Client: name}); err != nil && ctx.Err() == nil {
				_, _ = fmt.Fprintln(s.out, "vendctl: prefetch of", name+":", err)
			}
		}
	})
}

// keepFresh fetches a client's token at the start, and when it is due.
func (s *service) keepFresh(ctx context.Context, name string) {
	for ctx.Err() == nil {
		pause := 30 * time.Second
		t, err := s.tokens.Token(ctx, client.Request{Client: name})
		switch {
		case err != nil && ctx.Err() == nil:
			_, _ = fmt.Fprintln(s.out, "vendctl: prefetch of", name+":", err)
		case err == nil && !t.Refresh().IsZero():
			pause = max(time.Second, time.Until(t.Refresh()))
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}
