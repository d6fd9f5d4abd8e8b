package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// judge is told what the authorization server has counted.
func (h *hardship) judge(asked, failedLogons int) string {
	passed := h.variable == "" && h.trouble.Passed
	switch {
	case failedLogons > 0:
		return "a right credential failed"
	case h.first != "" && h.needless:
		return "no token, although none of it is needed for one"
	case h.first == "" && !h.needless && !h.trouble.Passed:
		return "a token out of nowhere"
	case h.first == "" && h.after > tokenTime, h.after > errorTime:
		return fmt.Sprintf("an answer after %.1f s", h.after.Seconds())
	case h.memory > mostMemory:
		return fmt.Sprintf("the process took %d MB", h.memory>>20)
	case h.trouble.Name == nameless && !h.needless:
		if asked > 0 {
			return "a token request although there was no way"
		}
	case asked < 1 || asked > 1 && !passed:
		return fmt.Sprintf("%d token requests", asked)
	}
	return ""
}

// printHardships prints a row for each trouble, and fails if anything is not as it must
// be.
func printHardships(out io.Writer, all [][]hardship) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprint(w, "trouble before")
	for _, h := range all[0] {
		_, _ = fmt.Fprint(w, "\t", h.name)
	}
	_, _ = fmt.Fprintln(w)
	var problems []string
	for _, row := range all {
		_, _ = fmt.Fprint(w, row[0].trouble.Name)
		for _, h := range row {
			if h.problem != "" {
				problems = append(problems, fmt.Sprintf("%s, %s: %s", h.name, h.trouble.Name, h.problem))
			}
			_, _ = fmt.Fprint(w, "\t", h.cell())
		}
		_, _ = fmt.Fprintln(w)
	}
	_ = w.Flush()
	_, _ = fmt.Fprintf(out, "\nan error after …, and a token so long after the trouble has ended. %d troubles, %d not as they must be\n", len(all)*len(all[0]), len(problems))
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "\n"))
	}
	return nil
}

// cell is what came of it, in short.
func (h *hardship) cell() string {
	switch {
	case h.problem != "":
		return "NOT OK"
	case h.first == "":
		return fmt.Sprintf("token %.1f s", h.after.Seconds())
	case h.trouble.Name == nameless:
		return fmt.Sprintf("error %.1f s", h.after.Seconds())
	}
	return fmt.Sprintf("error %.1f s, token %.1f s", h.after.Seconds(), h.again.Seconds())
}
