package options

import (
	"errors"
	"flag"
	"strings"
	"testing"
)

func TestArgumentsWithoutEffectAreRefused(t *testing.T) {
	for _, test := range []struct {
		arguments string
		want      string // part of the error; empty: none
	}{
		{"", ""},
		{"-v -json a -env b -keep c -policy d", ""},
		{"-once -keep c -policy d", ""},
		{"once", "unexpected argument: once"},
		{"-v true", "unexpected argument: true"},
		{"-once -json a", "-json has no meaning with -once"},
		{"-env a -once", "-env has no meaning with -once"},
		{"-port 80", "not defined: -port"},
	} {
		var out strings.Builder
		_, err := Parse(strings.Fields(test.arguments), &out)
		if (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: got error %v, want %q", test.arguments, err, test.want)
		}
		if (err != nil) != strings.Contains(out.String(), "-keep") {
			t.Errorf("%q: got output %q, want the usage message with an error only", test.arguments, out.String())
		}
	}
	if _, err := Parse([]string{"-h"}, new(strings.Builder)); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h: got error %v, want flag.ErrHelp", err)
	}
}
