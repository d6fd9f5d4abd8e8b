package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// printMatrix prints what came of each row; never a token or a secret.
func printMatrix(out io.Writer, server string, results []result) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "%s\n\n", server)
	_, _ = fmt.Fprintln(w, "method\tcredential\ttoken requests\tfailed logons\ttokens of 2\t")
	for _, r := range results {
		verdict := "ok"
		if r.problem != "" {
			verdict = "NOT OK: " + r.problem
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\n", r.method, r.key, r.asked, r.failedLogons, r.tokens, verdict)
	}
	_ = w.Flush()
}
