package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// printMatrix prints all results, without tokens and secrets, and returns how many rows
// failed.
func printMatrix(out io.Writer, server, version string, results []result, took time.Duration) (bad int) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "%s\n\n", version)
	_, _ = fmt.Fprintln(w, "server\tmethod\tcredential\ttoken requests\tfailed logons\texchanges\thits\ttoken\t")
	var total tally
	hits := 0
	for _, r := range results {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\n",
			server, r.method, r.key, r.requests, r.failedLogons, r.granted, r.hits, r.examined(), verdict(r.problem, &bad))
		total.requests += r.requests
		total.failedLogons += r.failedLogons
		total.granted += r.granted
		hits += r.hits
	}
	_ = w.Flush()
	_, _ = fmt.Fprintf(out, "\n%d rows, %d failed: %d token requests, %d failed logons, %d exchanges, %d hits, in %.1f s\n\n",
		len(results), bad, total.requests, total.failedLogons, total.granted, hits, took.Seconds())
	return bad
}

// verdict returns the last column of a row, and counts a problem in bad.
func verdict(problem string, bad *int) string {
	if problem == "" {
		return "ok"
	}
	*bad++
	return "NOT OK: " + problem
}

// examined says how the token was verified.
func (r result) examined() string {
	switch {
	case r.tokens == 0:
		return "-"
	case r.claims.how == "":
		return "not examined"
	}
	return r.claims.how
}
