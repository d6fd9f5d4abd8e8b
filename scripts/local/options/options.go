// Package options parses the arguments of the local stack. It imports nothing but the
// standard library, so that the launcher compiles quickly.
package options

import (
	"errors"
	"flag"
	"fmt"
	"io"
)

// Options are the arguments of the local stack. The zero value starts it with its defaults.
type Options struct {
	// Once means that the stack stops after the first tokens.
	Once bool
	// JSON and Env are files that the stack writes for programs and for shells, and removes
	// at its end; empty: none.
	JSON, Env string
	// Keep is a directory that keeps the state over a restart; empty: the state is in memory.
	Keep string
	// Policy is the file of a policy; empty: only IAM decides.
	Policy string
	// Verbose prints the log.
	Verbose bool
}

// Parse parses arguments, without the program's name. It prints a usage message to output if
// they are wrong. The error is [flag.ErrHelp] if help was asked for.
func Parse(arguments []string, output io.Writer) (Options, error) {
	var o Options
	set := flag.NewFlagSet("local", flag.ContinueOnError)
	set.SetOutput(output)
	set.BoolVar(&o.Once, "once", false, "stop after the first tokens")
	set.StringVar(&o.JSON, "json", "", "write addresses, CA file and demo credentials to this `file`, for programs")
	set.StringVar(&o.Env, "env", "", "write the variables of README.md's commands to this `file`, for a shell to read")
	set.StringVar(&o.Keep, "keep", "", "keep secrets, keys, the table, credentials and addresses in this `directory` over a restart")
	set.StringVar(&o.Policy, "policy", "", "also apply the policy in this `file` (POLICY_MODE=document)")
	set.BoolVar(&o.Verbose, "v", false, "print the functions' log and the access log")
	if err := set.Parse(arguments); err != nil {
		return Options{}, err
	}
	if err := o.check(set.Args()); err != nil {
		_, _ = fmt.Fprintf(output, "%v\n", err)
		set.Usage()
		return Options{}, err
	}
	return o, nil
}

// check refuses arguments that would have no effect.
func (o Options) check(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument: %s", rest[0])
	case o.Once && o.JSON != "":
		return errors.New("-json has no meaning with -once: the stack stops before a program could use it")
	case o.Once && o.Env != "":
		return errors.New("-env has no meaning with -once: the stack stops before a shell could use it")
	}
	return nil
}
