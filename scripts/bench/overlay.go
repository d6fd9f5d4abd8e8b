package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// buildOnClock compiles a package of this module with the clock of package clock. Where the
// module's code takes time.Now as a value, which is its clock, a copy takes clock.Now. Calls
// of time.Now stay, because they measure how long something takes.
func buildOnClock(ctx context.Context, pkg, file string) error {
	const list = `{{if .Module}}{{if .Module.Main}}{{range .GoFiles}}{{$.Dir}}` + string(filepath.Separator) + `{{.}}
{{end}}{{end}}{{end}}`
	// #nosec G204 -- fixed arguments but for names of our own.
	output, err := exec.CommandContext(ctx, "go", "list", "-buildvcs=false", "-deps", "-f", list, "tokenvendor/"+pkg).Output()
	if err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	replace := make(map[string]string)
	for name := range strings.FieldsFuncSeq(string(output), func(r rune) bool { return r == '\n' }) {
		source, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if changed := onClock(source); changed != nil {
			replace[name] = fmt.Sprintf("%s.%d.go", file, len(replace))
			if err := os.WriteFile(replace[name], changed, 0o600); err != nil {
				return err
			}
		}
	}
	if len(replace) == 0 {
		return errors.New("no file of the function takes time.Now as its clock")
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".json", text, 0o600); err != nil {
		return err
	}
	return build(ctx, pkg, file, "-overlay", file+".json")
}

// onClock returns a source file with clock.Now in place of each value time.Now; nil: it has
// none.
func onClock(source []byte) []byte {
	found := false
	changed := regexp.MustCompile(`\btime\.Now\b\(?`).ReplaceAllFunc(source, func(use []byte) []byte {
		if bytes.HasSuffix(use, []byte("(")) {
			return use
		}
		found = true
		return []byte("benchclock.Now")
	})
	if !found {
		return nil
	}
	clause := regexp.MustCompile(`(?m)^package \w+$`).FindIndex(changed)
	if clause == nil {
		return nil
	}
	const imports = "; import benchclock \"tokenvendor/scripts/bench/clock\""
	// The last line uses both packages, also if nothing else does.
	return append([]byte(string(changed[:clause[1]])+imports+string(changed[clause[1]:])), "\nvar _, _ = time.Now, benchclock.Now\n"...)
}
