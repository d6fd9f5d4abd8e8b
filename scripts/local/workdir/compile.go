package workdir

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// waitDelay is how long the go command may take to stop.
const waitDelay = 5 * time.Second

// Compile compiles the functions, with the flags of scripts/build, and further packages into
// the directory, for this machine.
func Compile(ctx context.Context, dir *Dir, packages ...string) error {
	arguments := []string{
		// -buildvcs=false: git refuses to read a checkout that another user owns.
		"build", "-buildvcs=false", "-trimpath", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", dir.path + string(filepath.Separator),
		"tokenvendor/functions/token", "tokenvendor/functions/batch",
	}
	cmd := exec.CommandContext(ctx, "go", append(arguments, packages...)...) // #nosec G204 -- packages of this module
	// The caller may have set these variables for another machine. An interrupted go command
	// leaves its temporary files.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH, "GOTMPDIR="+dir.path)
	// An interrupt ends the compilers, too.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = waitDelay
	output, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("go build (run this in the repository): %w\n%s", err, output)
	}
	return nil
}
