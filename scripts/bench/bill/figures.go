// Package bill computes what a million vends cost: the figures that the command bench cost
// has measured, times AWS's list prices. It imports the standard library only.
package bill

import (
	_ "embed" // the recorded figures
	"encoding/json"
	"fmt"
	"math"
)

// Figures are what was measured. A vend is a caller's request for a token that gets one.
type Figures struct {
	// Measured is the day of the measurement.
	Measured string `json:"measured"`
	// Line is the length of a hit's audit line, and Answer that of what the function returns,
	// in bytes, by the line's source.
	Line   map[string]int `json:"line"`
	Answer map[string]int `json:"answer"`
	// AccessLine is the length of a line of the API's access log, in bytes.
	AccessLine int `json:"access_line"`
	// Stored is the part of a log that remains after gzip.
	Stored float64 `json:"stored"`
	// HitMilliseconds is what a hit is billed.
	HitMilliseconds int `json:"hit_milliseconds"`
	// Rhythms are runs of a day, each with the same time between two vends of a client.
	Rhythms []Rhythm `json:"rhythms"`
	// Served is a run with a vend each minute whose caller keeps its token for as long as the
	// vendor says, as vendctl serve does.
	Served Rhythm `json:"served"`
}

// Rhythm is one client's use of two execution environments in turn. All but the first two
// fields count for one vend, without what each environment does at its start.
type Rhythm struct {
	// Seconds is the time between two vends.
	Seconds int `json:"seconds"`
	// Table: the environments share a table.
	Table bool `json:"table"`
	// Calls are calls of the function. It is 1 unless the caller keeps its token.
	Calls float64 `json:"calls"`
	// Exchanges are requests to the authorization server.
	Exchanges float64 `json:"exchanges"`
	// SecretReads, TableReads, TableWrites and KeyCalls are calls of AWS's services. KeyCalls are
	// those of the function itself.
	SecretReads float64 `json:"secret_reads"`
	TableReads  float64 `json:"table_reads"`
	TableWrites float64 `json:"table_writes"`
	KeyCalls    float64 `json:"key_calls"`
	// LogBytes is what the function writes to its log for calls of a REST API.
	LogBytes float64 `json:"log_bytes"`
}

//go:embed figures.json
var recorded []byte

// Recorded returns the figures that the table in functions/COSTS.md was made of.
func Recorded() (f Figures, err error) {
	err = json.Unmarshal(recorded, &f)
	return f, err
}

// Differences compares figures with those that were recorded. It returns a text for each count
// that is not within the ratio of the other, and for each size that is not within 2 %. Counts of
// less than one in 200 vends are equal. It compares no times.
func (f *Figures) Differences(recorded Figures, ratio float64) []string {
	// Ports and times have more or fewer digits.
	const sizes = 1.02
	var all []string
	within := func(ratio float64, name string, got, want, least float64) {
		low, high := math.Max(math.Min(got, want), least), math.Max(math.Max(got, want), least)
		if high > ratio*low {
			all = append(all, fmt.Sprintf("%s: got %.4g, recorded are %.4g", name, got, want))
		}
	}
	compare := func(name string, got, want, least float64) { within(ratio, name, got, want, least) }
	for source, want := range recorded.Line {
		within(sizes, "bytes of a hit's audit line, "+source, float64(f.Line[source]), float64(want), 1)
		within(sizes, "bytes of an answer, "+source, float64(f.Answer[source]), float64(recorded.Answer[source]), 1)
	}
	within(sizes, "bytes of a line of the access log", float64(f.AccessLine), float64(recorded.AccessLine), 1)
	compare("part of a log that is stored", f.Stored, recorded.Stored, 0.01)
	if len(f.Rhythms) != len(recorded.Rhythms) {
		return append(all, fmt.Sprintf("got %d rhythms, recorded are %d", len(f.Rhythms), len(recorded.Rhythms)))
	}
	for i, r := range append([]Rhythm{f.Served}, f.Rhythms...) {
		want := append([]Rhythm{recorded.Served}, recorded.Rhythms...)[i]
		name := fmt.Sprintf("a vend each %d s, table %t: ", r.Seconds, r.Table)
		if r.Seconds != want.Seconds || r.Table != want.Table {
			all = append(all, name+"recorded is another rhythm")
		}
		const rare = 0.005
		compare(name+"calls", r.Calls, want.Calls, rare)
		compare(name+"exchanges", r.Exchanges, want.Exchanges, rare)
		compare(name+"reads of a secret", r.SecretReads, want.SecretReads, rare)
		compare(name+"reads of the table", r.TableReads, want.TableReads, rare)
		compare(name+"writes of the table", r.TableWrites, want.TableWrites, rare)
		compare(name+"calls of KMS", r.KeyCalls, want.KeyCalls, rare)
		compare(name+"bytes of log", r.LogBytes, want.LogBytes, 1)
	}
	return all
}
