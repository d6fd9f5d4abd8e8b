package simulation

import (
	"encoding/json"
	"flag"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var (
	environments = flag.String("environments", "", "sizes of fleets, with commas between them; empty: small ones")
	results      = flag.String("results", "", "the file for the results, which are then not judged")
)

// TestGrowth simulates fleets of growing sizes. `bench growth` runs it with large ones.
func TestGrowth(t *testing.T) {
	sizes := *environments
	switch {
	case sizes == "" && testing.Short():
		sizes = "10,100" // the race detector makes it ten times slower
	case sizes == "":
		sizes = "30,300"
	}
	var all []Result
	for size := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(size)
		if err != nil || n < 1 {
			t.Fatalf("-environments: got %q, want numbers", sizes)
		}
		synctest.Test(t, func(t *testing.T) {
			all = append(all, Run(t, Config{Environments: n, Clients: 4, Life: 30 * time.Minute, Lives: 3}))
		})
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	if *results != "" {
		if err := os.WriteFile(*results, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, problem := range Problems(all) {
		t.Error(problem)
	}
	if t.Failed() {
		t.Logf("%s", text)
	}
}
