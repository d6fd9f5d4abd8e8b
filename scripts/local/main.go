// Command local runs the token vendor on one machine that needs Go only. It compiles the
// stack and the functions, runs the stack (package tokenvendor/scripts/local/stack) with its
// own arguments, and deletes everything at the end.
//
// It imports a few packages of the standard library only, so that "go run" compiles it
// quickly and it can say what is done while the rest is compiled.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"tokenvendor/scripts/local/options"
	"tokenvendor/scripts/local/workdir"
)

func main() {
	if _, err := options.Parse(os.Args[1:], os.Stderr); errors.Is(err, flag.ErrHelp) {
		return
	} else if err != nil {
		os.Exit(2)
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// interval is how often the launcher says that it is still compiling.
const interval = 10 * time.Second

// run compiles the stack, runs it until its end, and returns its exit code.
func run(arguments []string, out, errOut io.Writer) int {
	// The stack ends when it cannot write, and this program must delete its directory.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	workdir.Clean()
	dir, err := workdir.New()
	if err != nil {
		return failed(errOut, err)
	}
	var goBuild []string
	parent := os.Getppid()
	if executable, err := os.Executable(); err == nil && startedByGoRun(executable) {
		goBuild = workdir.GoBuild(executable)
		ctx = workdir.WithParent(ctx, parent)
	}
	code, err := 1, dir.OwnGoBuild(goBuild)
	if err == nil {
		code, err = launch(ctx, dir, arguments, out, errOut)
	}
	if err := errors.Join(err, dir.Remove()); err != nil {
		code = failed(errOut, err)
	}
	if os.Getppid() != parent {
		workdir.RemoveGoBuild(goBuild)
	}
	return code
}

func failed(errOut io.Writer, err error) int {
	if errors.Is(err, context.Canceled) {
		return 0
	}
	_, _ = fmt.Fprintln(errOut, "local:", err)
	return 1
}

// launch compiles and runs the stack in dir.
func launch(ctx context.Context, dir *workdir.Dir, arguments []string, out, errOut io.Writer) (code int, err error) {
	if err := compile(ctx, dir, out); err != nil {
		return 1, err
	}
	// The stack gets its signals from the terminal or from here, and ends itself.
	stack := exec.Command(dir.Binary("stack"), arguments...) // #nosec G204 G702 -- compiled above
	stack.Env = append(os.Environ(), workdir.Variable+"="+dir.Path())
	stack.Stdin, stack.Stdout, stack.Stderr = os.Stdin, out, errOut
	if err := stack.Start(); err != nil {
		return 1, err
	}
	ended := make(chan error, 1)
	go func() { ended <- stack.Wait() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		_ = stack.Process.Signal(syscall.SIGTERM) // not on Windows, where Ctrl-C reaches it
		err = <-ended
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

// compile compiles the stack and the functions for this machine. The functions have the flags
// of scripts/build.
func compile(ctx context.Context, dir *workdir.Dir, out io.Writer) error {
	began := time.Now()
	_, _ = fmt.Fprintln(out, "compiling the stack and the functions; without Go's build cache this takes a minute or two")
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	compiled := make(chan error, 1)
	go func() { compiled <- workdir.Compile(ctx, dir, "tokenvendor/scripts/local/stack") }()
	for {
		select {
		case <-ticker.C:
			_, _ = fmt.Fprintf(out, "  still compiling after %.0f s\n", time.Since(began).Seconds())
		case err := <-compiled:
			if err == nil {
				_, _ = fmt.Fprintf(out, "compiled in %.1f s\n", time.Since(began).Seconds())
			}
			return err
		}
	}
}

// startedByGoRun reports whether "go run" started this program: it is then in a directory
// that the go command made, or in its cache.
func startedByGoRun(executable string) bool {
	if strings.Contains(executable, "go-build") {
		return true
	}
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	return err == nil && strings.HasPrefix(executable, strings.TrimSpace(string(cache)))
}
