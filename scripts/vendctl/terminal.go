package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"golang.org/x/term"
)

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd())) //nolint:gosec // a descriptor is small
}

// colored reports whether a stream shows colours (no-color.org).
func colored(stream any) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(stream)
}

// newMan returns the command that writes the manual pages.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIRECTORY",
		Short: "Write the manual pages into a directory",
		Args:  exactly(1, "one directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil { // #nosec G301 -- manual pages are for everybody
				return errors.New("the directory cannot be made")
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			return doc.GenManTree(root, &doc.GenManHeader{Title: "VENDCTL", Section: "1", Source: "token vendor"}, args[0])
		},
	}
}

// completeTime limits what a shell waits for names.
const completeTime = 3 * time.Second

// complete proposes the names of clients: those of the local stack, or of the secrets that the
// user may list in the account of --stack.
func (a *access) complete(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
	var names []string
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	a.readVariable()
	if a.local != "" {
		s, err := a.readStack()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		for _, c := range s.Clients {
			names = append(names, c.Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	if a.stack == "" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTime)
	defer cancel()
	names, err := a.clientsOf(ctx, begin)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// clientsOf lists the clients of the stack whose names begin with a text.
func (a *access) clientsOf(ctx context.Context, begin string) (names []string, err error) {
	v, err := a.openVault(ctx)
	if err != nil {
		return nil, err
	}
	all, err := v.list(ctx, begin)
	for _, one := range all {
		names = append(names, one.Name)
	}
	return names, err
}
