package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// build compiles the functions with the flags of scripts/build, for this machine.
func (s *stack) build(ctx context.Context) error {
	// #nosec G204 -- fixed arguments, and a path that this program created
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", s.dir+string(filepath.Separator),
		"tokenvendor/functions/token", "tokenvendor/functions/batch")
	// The caller may have set these variables for another machine.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH)
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build (run this in the repository): %w\n%s", err, output)
	}
	return nil
}
