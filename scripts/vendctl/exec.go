package main

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

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
		Long: "exec runs a program with the token in ACCESS_TOKEN. With --route NAME=CLIENT@URL the program gets no token: NAME_URL is\n" +
			"a base URL on this machine that leads to URL and adds it, as long as the program runs.",
		RunE: func(cmd *cobra.Command, args []string) error {
			at := cmd.ArgsLenAtDash()
			if at < 0 || at == len(args) {
				return usage("which program? Give it after --")
			}
			parsed, err := parseRoutes(routes)
			if err != nil {
				return err
			}
			if at != 1 && (at != 0 || len(parsed) == 0) {
				return usage("got %d arguments before --, want the name of one client, or --route", at)
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

// runWith runs a program with variables and with the URLs of routes.
func runWith(cmd *cobra.Command, c *client.Client, routes []endpoint.Route, program, variables []string) error {
	ctx, stop := context.WithCancel(cmd.Context())
	defer stop()
	if len(routes) > 0 {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		secret := rand.Text()
		for _, route := range routes {
			name := strings.ToUpper(strings.ReplaceAll(route.Name, "-", "_")) + "_URL"
			variables = append(variables, name+"=http://"+listener.Addr().String()+"/r/"+route.Name+"/~"+secret)
		}
		s := &service{tokens: c, routes: routes, out: io.Discard, log: io.Discard}
		var serving sync.WaitGroup
		serving.Go(func() { _ = s.run(ctx, listener, secret, nil) })
		defer func() {
			stop()
			serving.Wait()
		}()
	}
	// #nosec G204 -- the program that the user names.
	child := exec.CommandContext(ctx, program[0], program[1:]...)
	child.Env = append(os.Environ(), variables...)
	child.Stdin, child.Stdout, child.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	child.Cancel = func() error { return child.Process.Signal(syscall.SIGTERM) }
	child.WaitDelay = 10 * time.Second
	return child.Run()
}
