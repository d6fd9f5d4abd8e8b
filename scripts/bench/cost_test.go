package main

import (
	"bytes"
	"testing"

	"tokenvendor/scripts/bench/bill"
)

// TestCostIsAsRecorded measures what is billed. It compares counts and sizes, and no times. The
// moments of refreshes are random, so that a few counts change by a quarter.
func TestCostIsAsRecorded(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the function and makes thousands of calls")
	}
	t.Parallel()
	recorded, err := bill.Recorded()
	if err != nil {
		t.Fatal(err)
	}
	figures, err := measureCost(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, difference := range figures.Differences(recorded, 1.4) {
		t.Errorf("%s; go run ./scripts/bench cost -update records new figures", difference)
	}
}

func TestCostPrintsTheRecordedFigures(t *testing.T) {
	recorded, err := bill.Recorded()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"cost", "-recorded"}, &out); err != nil || out.String() != bill.Tables(recorded) {
		t.Errorf("got %v and\n%s", err, out.String())
	}
}

// The access log of the template is what the figures have.
func TestAccessLine(t *testing.T) {
	line, err := accessLine()
	recorded, recordedErr := bill.Recorded()
	if err != nil || recordedErr != nil || len(line) != recorded.AccessLine {
		t.Errorf("got %v, %v and %d bytes, recorded are %d: %s", err, recordedErr, len(line), recorded.AccessLine, line)
	}
}
