// Command vendctl gets tokens from a token vendor on a person's machine, and gives them to
// programs that cannot sign for AWS. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	_ "golang.org/x/crypto/x509roots/fallback" // for a container image without certificates of authorities

	"tokenvendor/scripts/vendctl/deadletter"
	"tokenvendor/shared/client"
	"tokenvendor/shared/oauth"
)

// The exit codes.
const (
	exitFailed     = 1
	exitUsage      = 2
	exitRefused    = 3
	exitNotFound   = 4
	exitTemporary  = 5
	exitCredential = 6 // the vendor's client or its document is at fault

	// As shells have them, of exec only.
	exitNotStarted = 127
	exitSignal     = 128

	exitInterrupted = exitSignal + 2 // as if SIGINT had ended the program
)

// usageError is a mistake on the command line.
type usageError struct{ error }

func usage(format string, values ...any) error { return usageError{fmt.Errorf(format, values...)} }

// logWriter writes the lines of package log without what a server has sent.
type logWriter struct{ io.Writer }

// Write implements [io.Writer].
func (w logWriter) Write(line []byte) (int, error) {
	safe := line
	if before, _, found := strings.Cut(string(line), oauth.UnsolicitedResponse); found {
		safe = []byte(before + oauth.UnsolicitedResponse + "\n")
	}
	_, err := w.Writer.Write(safe)
	return len(line), err
}

func main() {
	log.SetOutput(logWriter{os.Stderr})
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run runs one command and returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	code := exitCode(err)
	var child *exec.ExitError
	if err != nil && !errors.As(err, &child) {
		if ctx.Err() != nil {
			err, code = interrupted(err), exitInterrupted
		}
		_, _ = fmt.Fprintln(stderr, "vendctl:", err)
		if code == exitUsage {
			_, _ = fmt.Fprintln(stderr, "Run vendctl help for the commands and their flags.")
		}
	}
	return code
}

// interrupted returns the error of a command that was interrupted. What failed because of that is of no
// interest, unless something is left behind.
func interrupted(err error) error {
	var state *deadletter.StateError
	if errors.As(err, &state) {
		return fmt.Errorf("interrupted: %w", state)
	}
	return errors.New("interrupted")
}

func exitCode(err error) int {
	var usage usageError
	var failure *client.Error
	var child *exec.ExitError
	var notStarted notStartedError
	var document badDocument
	var examination *examinationError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &child):
		return exitCodeOfChild(child)
	case errors.As(err, &notStarted):
		return exitNotStarted
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &document):
		return exitCredential
	case errors.As(err, &examination):
		return examination.code
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errNotFound):
		return exitNotFound
	case errors.Is(err, errNotServing):
		return exitTemporary
	case errors.As(err, &failure):
		return exitCodeOf(failure)
	}
	return exitFailed
}

func exitCodeOfChild(child *exec.ExitError) int {
	if status, ok := child.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitSignal + int(status.Signal())
	}
	return child.ExitCode()
}

func exitCodeOf(e *client.Error) int {
	switch {
	case e.Temporary():
		return exitTemporary
	case e.Status == http.StatusNotFound:
		return exitNotFound
	case e.Status == http.StatusBadGateway && e.Code != "":
		return exitCredential
	case e.Status >= http.StatusBadRequest && e.Status < http.StatusInternalServerError:
		return exitRefused
	}
	return exitFailed
}

func newRoot() *cobra.Command {
	a := &access{}
	root := &cobra.Command{
		Use:   "vendctl",
		Short: "Get tokens from a token vendor",
		Long: "vendctl gets tokens from a token vendor with your AWS credentials, and gives them to programs that cannot sign for AWS.\n\n" +
			"Exit codes: 0 ok, 1 failed, 2 usage, 3 refused, 4 not found, 5 temporary, 6 the credential is at fault, 130 interrupted.",
		SilenceUsage: true, SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("there is no command %s", word("", args[0]))
			}
			return nil
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Name() != cobra.ShellCompRequestCmd && cmd.Name() != cobra.ShellCompNoDescRequestCmd { // whose flags are not read yet
				a.readVariable()
			}
			if a.verbose {
				a.log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			}
			return a.check()
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetHelpCommand(&cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Print the commands, or the flags of one",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usage("there is no such command")
			}
			return about.Help()
		},
	})
	root.SetFlagErrorFunc(flagError)
	a.addFlags(root.PersistentFlags())
	root.AddCommand(newGet(a), newExplain(a), newDoctor(a), newServe(a), newExec(a), newServiceKey(), newVCAP(), newOpenAPI(), newMan(),
		newAudit(a), newWhoHolds(a), newToken(a), newPolicy(a), newClient(a), newFreeze(a, true), newFreeze(a, false), newDeadLetters(a))
	return root
}

// oneClient accepts the name of one client.
func oneClient(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage("got %d arguments, want the name of one client", len(args))
	}
	return clientNames(args)
}

// clientNames refuses texts that cannot be names of clients.
func clientNames(names []string) error {
	for _, name := range names {
		if !client.ValidName(name) {
			return usage("the name of a client has the characters a-z, 0-9 and -")
		}
	}
	return nil
}

// exactly refuses another number of arguments.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return usage("got %d arguments, want %s", len(args), what)
		}
		return nil
	}
}
