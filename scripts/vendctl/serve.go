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
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"tokenvendor/scripts/vendctl/endpoint"
	"tokenvendor/shared/client"
)

const defaultListen = "127.0.0.1:8973"

// gcPercent lets the heap grow less than Go's default of 100.
const gcPercent = 25

// shutdownTime is how long running answers may take at the end.
const shutdownTime = 3 * time.Second

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
			if err = errors.Join(err, clientNames(s.prefetch)); err != nil {
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
	cmd.Flags().StringVar(&p.secretGroup, "local-secret-group", "", "group that may read the local secret too, by its name or number")
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
	// It runs for weeks beside other programs. A hit leaves little garbage.
	debug.SetGCPercent(gcPercent)
	// A reader of the log that ends must not end serve. The programs that serve starts do not
	// inherit this, as they would inherit a signal that is ignored.
	pipes := make(chan os.Signal, 1)
	signal.Notify(pipes, syscall.SIGPIPE)
	defer signal.Stop(pipes)
	lines := newLineQueue(s.log)
	defer lines.close()
	s.log = lines
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	given := func() {}
	if s.oneshot {
		given = stop
	}
	// Wrong flags must be an error before programs and systemd can see the endpoint.
	secret := rand.Text()
	handler, err := s.handler(secret, given)
	if err == nil && s.extension {
		_, err = extensionsAPI()
	}
	if err != nil {
		return err
	}
	listener, err := s.location.open(ctx)
	if err != nil {
		return err
	}
	if err := s.announce(ctx, listener, secret); err != nil {
		return errors.Join(err, listener.Close())
	}
	return s.run(ctx, listener, handler)
}

// announce writes the local secret, and tells people and systemd of the endpoint.
func (s *service) announce(ctx context.Context, listener net.Listener, secret string) error {
	file, err := s.location.writeSecret(secret)
	if err != nil {
		return err
	}
	if !s.quiet {
		address := "http://" + listener.Addr().String() + "/oauth2/token"
		if s.location.socket != "" {
			address = "/oauth2/token at the socket " + s.location.socket
		}
		_, _ = fmt.Fprintf(s.out, "token endpoint: %s\nlocal secret:   %s\n", address, file)
	}
	// A program that was started by another service has that one's variable.
	if err := notifyReady(ctx); err != nil && !s.quiet {
		_, _ = fmt.Fprintln(s.out, "vendctl:", err)
	}
	return nil
}

// notifyReady tells systemd that the endpoint listens and that the local secret can be read
// (sd_notify(3)).
func notifyReady(ctx context.Context) error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unixgram", socket)
	if err != nil {
		return errors.New("NOTIFY_SOCKET cannot be reached")
	}
	_, err = io.WriteString(conn, "READY=1")
	return errors.Join(err, conn.Close())
}

// handler returns the endpoint. given is called after each token; nil: nothing is.
func (s *service) handler(secret string, given func()) (http.Handler, error) {
	handler, err := endpoint.New(endpoint.Config{
		Tokens: s.tokens, Secret: secret, Routes: s.routes, Socket: s.location.socket != "", Log: s.log, Given: given,
	})
	if err != nil {
		return nil, usageError{err}
	}
	return handler, nil
}

// run serves listener until ctx ends.
func (s *service) run(ctx context.Context, listener net.Listener, handler http.Handler) error {
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
	// Serve returns when Shutdown begins, but running answers go on.
	background.Go(func() {
		<-ctx.Done()
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer cancel()
		_ = server.Shutdown(closing)
	})
	err := server.Serve(listener)
	ended := ctx.Err() != nil && errors.Is(err, http.ErrServerClosed)
	stop()
	background.Wait()
	switch {
	case !ended:
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
		var all sync.WaitGroup
		for _, name := range s.prefetch {
			all.Go(func() {
				if _, err := s.tokens.Token(ctx, client.Request{Client: name}); err != nil {
					_, _ = fmt.Fprintln(s.out, "vendctl: prefetch of", name+":", err)
				}
			})
		}
		all.Wait()
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
