package main

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// candidate is a function that bench speed measures.
type candidate struct {
	name string
	pkg  string // of a function in Go
	// interpreter is a command that prints, in two lines, the program that runs script, and
	// its version.
	interpreter []string
	script      string

	version string
	binary  string
	args    []string
	vars    []string
	values  map[metric][]float64 // by round
}

// vends reports whether the function vends tokens: the constant one does not.
func (c *candidate) vends() bool { return c.pkg != "scripts/bench/constant" }

// audits reports whether the function prints an audit line for each token.
func (c *candidate) audits() bool { return c.pkg == tokenPackage }

// The names of candidates that limits name.
const (
	tokenName, constantName, againName = "token", "constant", "constant again"
	bareName, plainName                = "bare", "plain"
)

// everyCandidate returns all candidates. "prefetch" is the token function with the name of the
// client, whose token it has at its first poll. There is none with AWS's caching library for Go,
// since the module does not depend on it: it keeps secrets but no tokens.
func everyCandidate() []*candidate {
	return []*candidate{
		{name: tokenName, pkg: tokenPackage},
		{name: "prefetch", pkg: tokenPackage, vars: []string{"PREFETCH_CLIENTS=billing"}},
		{name: constantName, pkg: "scripts/bench/constant"},
		{name: againName, pkg: "scripts/bench/constant"},
		{name: bareName, pkg: "scripts/bench/bare"},
		{name: plainName, pkg: "scripts/bench/plain"},
		{name: "node", interpreter: []string{"node", "-p", `process.execPath + "\n" + process.version`}, script: "scripts/bench/node/index.mjs"},
		{name: "python3", interpreter: []string{"python3", "-c", "import platform, sys; print(sys.executable); print(platform.python_version())"}, script: "scripts/bench/python/main.py"},
	}
}

// chosenCandidates returns those that only names; empty: all.
func chosenCandidates(only string) ([]*candidate, error) {
	all := everyCandidate()
	if only == "" {
		return all, nil
	}
	names := strings.Split(only, ",")
	for _, name := range names {
		if !slices.ContainsFunc(all, func(c *candidate) bool { return c.name == name }) {
			return nil, fmt.Errorf("-only: no function is called %q", name)
		}
	}
	return slices.DeleteFunc(all, func(c *candidate) bool { return !slices.Contains(names, c.name) }), nil
}

// prepared returns the candidates that this machine can start. Each has a binary of its own,
// since functions that share a file would load it into the page cache for each other.
func prepared(ctx context.Context, all []*candidate, dir string, out io.Writer) ([]*candidate, error) {
	var found []*candidate
	for _, c := range all {
		c.values = make(map[metric][]float64)
		if c.pkg != "" {
			if err := c.build(ctx, dir); err != nil {
				return nil, err
			}
		} else if err := c.findInterpreter(ctx); err != nil {
			fmt.Fprintf(out, "%s is left out: %v\n", c.name, err)
			continue
		}
		found = append(found, c)
	}
	return found, nil
}

// setVars sets the environment variables. Those of the candidate come last.
func (c *candidate) setVars(vars []string, store trustStore) {
	trust := store.vars
	if c.audits() {
		trust = store.tokenVars
	}
	// Node has its roots in its binary.
	c.vars = slices.Concat(vars, []string{"NODE_EXTRA_CA_CERTS=" + store.root}, trust, c.vars)
}

// build builds the function and measures its files. Functions of the
// same package have copies of one binary.
func (c *candidate) build(ctx context.Context, dir string) error {
	built := filepath.Join(dir, filepath.Base(c.pkg))
	if _, err := os.Stat(built); errors.Is(err, os.ErrNotExist) {
		if err := build(ctx, c.pkg, built); err != nil {
			return err
		}
	}
	binary, err := os.ReadFile(built)
	if err != nil {
		return err
	}
	c.binary = filepath.Join(dir, "speed "+c.name)
	size, err := zipSize(binary)
	c.values[binarySize], c.values[zippedSize] = []float64{float64(len(binary))}, []float64{float64(size)}
	return errors.Join(err, os.WriteFile(c.binary, binary, 0o700)) // #nosec G306 -- it must be executable
}

// zipSize returns the size of a package for Lambda in bytes.
func zipSize(binary []byte) (int64, error) {
	var size countingWriter
	archive := zip.NewWriter(&size)
	file, err := archive.Create("bootstrap")
	if err != nil {
		return 0, err
	}
	_, err = file.Write(binary)
	return int64(size), errors.Join(err, archive.Close())
}

// countingWriter counts the bytes that are written to it.
type countingWriter int64

func (w *countingWriter) Write(p []byte) (int, error) {
	*w += countingWriter(len(p))
	return len(p), nil
}

// findInterpreter finds the program itself: the name in PATH may be a script that chooses a
// version.
func (c *candidate) findInterpreter(ctx context.Context) error {
	// #nosec G204 -- fixed arguments
	output, err := exec.CommandContext(ctx, c.interpreter[0], c.interpreter[1:]...).Output()
	if err != nil {
		return err
	}
	program, version, _ := strings.Cut(strings.TrimSpace(string(output)), "\n")
	c.binary, c.version, c.args = program, version, []string{c.script}
	return nil
}
