package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// check says what is wrong with the result; empty: nothing. It takes the counts of the
// authorization server.
func (c *troubleCase) check(requests, failedLogons int) string {
	granted := c.code == ""
	switch {
	case failedLogons > 0:
		return "a logon with a right credential failed"
	case !granted && c.optional:
		return "no token, although this server is not needed for one"
	case granted && !c.optional && !c.trouble.Passed:
		return "a token, although the server cannot have answered"
	case granted && c.answered > tokenTime, c.answered > errorTime:
		return fmt.Sprintf("an answer after %.1f s", c.answered.Seconds())
	case c.memory > memoryLimit:
		return fmt.Sprintf("the process used %d MB", c.memory>>20)
	}
	return c.checkRequests(requests)
}

func (c *troubleCase) checkRequests(requests int) string {
	// The function repeats a request whose answer is lost.
	repeated := c.variable == "" && c.trouble.Passed
	switch {
	case c.trouble.Name == unknownName && !c.optional:
		if requests > 0 {
			return "a token request without a way to the server"
		}
	case requests < 1 || requests > 1 && !repeated:
		return fmt.Sprintf("%d token requests", requests)
	}
	return ""
}

// printTroubles prints a row for each kind of trouble, and fails if there are problems.
func printTroubles(out io.Writer, all [][]troubleCase) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprint(w, "trouble in front of")
	for _, c := range all[0] {
		_, _ = fmt.Fprint(w, "\t", c.name)
	}
	_, _ = fmt.Fprintln(w)
	var problems []string
	for _, row := range all {
		_, _ = fmt.Fprint(w, row[0].trouble.Name)
		for _, c := range row {
			if c.problem != "" {
				problems = append(problems, fmt.Sprintf("%s, %s: %s", c.name, c.trouble.Name, c.problem))
			}
			_, _ = fmt.Fprint(w, "\t", c.summary())
		}
		_, _ = fmt.Fprintln(w)
	}
	_ = w.Flush()
	_, _ = fmt.Fprintf(out, "\nerror: time to the error; token: time to a token, after an error from the end of the trouble. %d cases, %d failed\n", len(all)*len(all[0]), len(problems))
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "\n"))
	}
	return nil
}

// summary is the result in a few words.
func (c *troubleCase) summary() string {
	switch {
	case c.problem != "":
		return "NOT OK"
	case c.code == "":
		return fmt.Sprintf("token %.1f s", c.answered.Seconds())
	case c.trouble.Name == unknownName:
		return fmt.Sprintf("error %.1f s", c.answered.Seconds())
	}
	return fmt.Sprintf("error %.1f s, token %.1f s", c.answered.Seconds(), c.recovery.Seconds())
}
