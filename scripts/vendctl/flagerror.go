package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagError returns the error of a command line whose flags cannot be read. It does not repeat what may
// have been pasted: a private key begins with two dashes, and a secret may begin with one.
func flagError(_ *cobra.Command, err error) error {
	var (
		syntax  *pflag.InvalidSyntaxError
		unknown *pflag.NotExistError
		value   *pflag.InvalidValueError
		missing *pflag.ValueRequiredError
	)
	switch {
	case errors.As(err, &syntax):
		return usage("an argument begins with -- and is no flag; give a document as the name of a file, or as - for standard input")
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		return usage("there is no flag -%.1s", unknown.GetSpecifiedName())
	case errors.As(err, &unknown):
		return usage("there is no flag %s", word("--", unknown.GetSpecifiedName()))
	case errors.As(err, &value):
		return usage("the value of --%s must be of type %s", value.GetFlag().Name, value.GetFlag().Value.Type())
	case errors.As(err, &missing):
		return usage("--%s needs a value", missing.GetFlag().Name)
	}
	return usageError{err}
}

// word returns a name with its prefix for an error if it looks like that of a command or a flag.
func word(prefix, name string) string {
	const longest = 24 // is longer than each of them
	if len(name) > longest {
		return "of this name"
	}
	for _, c := range name {
		if (c < 'a' || c > 'z') && c != '-' {
			return "of this name"
		}
	}
	return fmt.Sprintf("%q", prefix+name)
}
