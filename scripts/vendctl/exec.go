package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"tokenvendor/scripts/vendctl/endpoint"
	"tokenvendor/shared/client"
)

func newExec(a *access) *cobra.Command {
	var want asked
	var routes []string
	cmd := &cobra.Command{
		Use:   "exec [CLIENT] -- COMMAND [ARGUMENT]...",
		Short: "Run one program with a token, or with a route that adds it",
		Long: "exec runs a program with the token of CLIENT in ACCESS_TOKEN. With --route NAME=CLIENT@URL and without another CLIENT the\n" +
			"program gets no token: NAME_URL is a base URL on this machine that leads to URL and adds it, as long as the program runs.\n\n" +
			"The exit code is that of the program: 127 if it cannot be started, 128 and the number of the signal that ended it.",
		RunE: func(cmd *cobra.Command, args []string) error {
			at := cmd.ArgsLenAtDash()
			if at < 0 || at == len(args) {
				return usage("which program? Give it after --")
			}
			parsed, err := parseRoutes(routes)
			if err != nil {
				return err
			}
			switch {
			case at != 1 && (at != 0 || len(parsed) == 0):
				return usage("got %d arguments before --, want the name of one client, or --route", at)
			case at == 0 && !want.isZero():
				return usage("a route has the token of its client: --scope and others are for the client before --")
			}
			if err := clientNames(args[:at]); err != nil {
				return err
			}
			c, err := a.open(cmd.Context())
			if err != nil {
				return err
			}
			var variables []string
			if at == 1 {
				t, err := c.Token(cmd.Context(), want.request(args[0]))
				if err != nil {
					return err
				}
				variables = append(variables, "ACCESS_TOKEN="+t.AccessToken())
			}
			return runWith(cmd, c, parsed, args[at:], variables)
		},
	}
	want.addFlags(cmd.Flags())
	cmd.Flags().StringArrayVar(&routes, "route", nil, "NAME=CLIENT@https://host/prefix; may be repeated")
	return cmd
}

// runWith runs a program with variables and with the URLs of routes, which work until it has ended.
func runWith(cmd *cobra.Command, c *client.Client, routes []endpoint.Route, program, variables []string) error {
	if len(routes) > 0 {
		more, stop, err := serveRoutes(context.WithoutCancel(cmd.Context()), c, routes)
		if err != nil {
			return err
		}
		defer stop()
		variables = append(variables, more...)
		// Otherwise a proxy would get the requests, with the local secret.
		for _, name := range []string{"NO_PROXY", "no_proxy"} {
			variables = append(variables, name+"="+strings.TrimPrefix(os.Getenv(name)+",127.0.0.1,localhost", ","))
		}
	}
	child := exec.Command(program[0], program[1:]...) //nolint:noctx // it ends by itself
	// A token of the environment is not what was asked for.
	child.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "ACCESS_TOKEN=") }), variables...)
	child.Stdin, child.Stdout, child.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	received := make(chan os.Signal, 8)
	signal.Notify(received, forwarded()...)
	defer signal.Stop(received)
	if err := cmd.Context().Err(); err != nil {
		return err // a signal came before
	}
	if err := child.Start(); err != nil {
		return notStartedError{err}
	}
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case one := <-received:
				// The program decides itself whether it ends.
				if !isOfTerminal(one) {
					_ = child.Process.Signal(one)
				}
			case <-ended:
				return
			}
		}
	}()
	err := child.Wait()
	close(ended)
	return err
}

// notStartedError is a program that cannot be started.
type notStartedError struct{ error }

// serveRoutes serves routes, and returns the variables with their URLs.
func serveRoutes(ctx context.Context, c *client.Client, routes []endpoint.Route) (variables []string, stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		cancel()
		return nil, nil, err
	}
	secret := rand.Text()
	s := &service{tokens: c, routes: routes, out: io.Discard, log: io.Discard}
	handler, err := s.handler(secret, nil)
	if err != nil {
		cancel()
		return nil, nil, errors.Join(err, listener.Close())
	}
	for _, route := range routes {
		name := strings.ToUpper(strings.ReplaceAll(route.Name, "-", "_")) + "_URL="
		if slices.ContainsFunc(variables, func(v string) bool { return strings.HasPrefix(v, name) }) {
			cancel()
			return nil, nil, errors.Join(usage("two routes have the variable %s", strings.TrimSuffix(name, "=")), listener.Close())
		}
		variables = append(variables, name+"http://"+listener.Addr().String()+"/r/"+route.Name+"/~"+secret)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.run(ctx, listener, handler) })
	return variables, func() {
		cancel()
		serving.Wait()
	}, nil
}
