package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// printMatrix prints what came of each row, and returns how many are not as they must
// be. It prints no token and no secret.
func printMatrix(out io.Writer, server, version string, results []result, took time.Duration) (bad int) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "%s\n\n", version)
	_, _ = fmt.Fprintln(w, "server\tmethod\tcredential\ttoken requests\tfailed logons\texchanges\thits\ttoken\t")
	var total tally
	hits := 0
	for _, r := range results {
		verdict := "ok"
		if r.problem != "" {
			verdict = "NOT OK: " + r.problem
			bad++
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\n",
			server, r.method, r.key, r.requests, r.failedLogons, r.granted, r.hits, r.examined(), verdict)
		total.requests += r.requests
		total.failedLogons += r.failedLogons
		total.granted += r.granted
		hits += r.hits
	}
	_ = w.Flush()
	_, _ = fmt.Fprintf(out, "\n%d rows, %d not as they must be: %d token requests, %d failed logons, %d exchanges, %d hits, in %.1f s\n\n",
		len(results), bad, total.requests, total.failedLogons, total.granted, hits, took.Seconds())
	return bad
}

// examined says how the token is known to be good.
func (r result) examined() string {
	switch {
	case r.tokens == 0:
		return "-"
	case r.claims.how == "":
		return "not examined"
	}
	return r.claims.how
}
