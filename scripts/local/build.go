package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// build compiles the functions as scripts/build does for AWS, but for this
// machine.
func (s *stack) build(ctx context.Context) error {
	// #nosec G204 -- fixed arguments; the path is of our own making.
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", s.dir+string(filepath.Separator),
		"tokenvendor/functions/token", "tokenvendor/functions/batch")
	// The caller may have set these for a build that is to be deployed.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH)
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build (run this in the repository): %w\n%s", err, output)
	}
	return nil
}
