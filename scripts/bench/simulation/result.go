package simulation

import (
	"fmt"
	"math"
	"slices"
	"time"

	"tokenvendor/shared/fleet/fleettest"
)

// Calls are counts of calls.
type Calls struct {
	Vends, Exchanges, Secrets, Keys int
	// TableCalls are those of the table, and Reads and Writes their units.
	TableCalls    int
	Reads, Writes float64
}

func (c Calls) minus(d Calls) Calls {
	return Calls{
		c.Vends - d.Vends, c.Exchanges - d.Exchanges, c.Secrets - d.Secrets, c.Keys - d.Keys, c.TableCalls - d.TableCalls, c.Reads - d.Reads, c.Writes - d.Writes,
	}
}

// Result is what [Run] counted.
type Result struct {
	Environments int
	// Start are the calls until all environments had started, and Steady those of the time
	// after it, Hours.
	Start, Steady Calls
	Hours         float64
	// Lifetimes are the exchanges that were due: the first one of a client, and one when a
	// token was due to be replaced, or the secret had been.
	Lifetimes int
	// Failed are the vends without a token, by their errors.
	Failed map[string]int
	// FailedLogons is that of the authorization server. The server accepts the new secret only from
	// the moment when it is in the document, so that an environment that has read the document less
	// than five minutes ago may send the old one once, and another one that the table did not answer.
	FailedLogons int
	// Peaks are the most units of one item in one second, by what the item is for, Largest is
	// the size of the largest item in bytes, and Throttled how many calls of the table were
	// throttled.
	Peaks     map[string]fleettest.Peak
	Largest   int
	Throttled int
	// BusiestMinute is the greatest number of exchanges in one minute, and BusiestSecond of
	// the reads of secrets and of the calls of KMS in one second.
	BusiestMinute               int
	BusiestSecrets, BusiestKeys int
	// Rush is what happened when, after all of that, every environment asked for one more
	// client's token within a second. No table bears that without throttling.
	Rush Rush
	// Counted are the metrics of the vendors.
	Counted map[string]int
	// Slowest is the longest time of a vend.
	Slowest time.Duration
	// Memory is that of the process in bytes, the authorization server's included.
	Memory uint64
}

// Rush is the result of calls that all environments make at once.
type Rush struct {
	Exchanges, Failed, Throttled int
	Slowest                      time.Duration
}

// Exchanges returns the exchanges per token and lifetime, without the failed logons.
func (r *Result) Exchanges() float64 {
	return float64(r.Start.Exchanges+r.Steady.Exchanges-r.FailedLogons) / float64(max(1, r.Lifetimes))
}

// FailedVends returns how many vends brought no token.
func (r *Result) FailedVends() int { return total(r.Failed) }

// PerStart returns calls at the start per environment, and PerHour the later ones per
// environment and hour.
func (r *Result) PerStart(calls int) float64 { return float64(calls) / float64(r.Environments) }

func (r *Result) PerHour(calls int) float64 { return r.PerStart(calls) / r.Hours }

// Peak returns the most units of one item in one second.
func (r *Result) Peak() (hottest fleettest.Peak) {
	for _, peak := range r.Peaks {
		hottest = fleettest.Peak{Reads: max(hottest.Reads, peak.Reads), Writes: max(hottest.Writes, peak.Writes)}
	}
	return hottest
}

// The names of [Result.Costs].
const (
	TableAtStart   = "table calls at the start"
	SecretsAtStart = "reads of secrets at the start"
	KeysAtStart    = "KMS calls at the start"
	TablePerHour   = "table calls an hour"
	SecretsPerHour = "reads of secrets an hour"
	KeysPerHour    = "KMS calls an hour"
)

// Costs are the calls per environment that must not grow with the fleet, by their names.
func (r *Result) Costs() map[string]float64 {
	return map[string]float64{
		TableAtStart: r.PerStart(r.Start.TableCalls), TablePerHour: r.PerHour(r.Steady.TableCalls),
		SecretsAtStart: r.PerStart(r.Start.Secrets), SecretsPerHour: r.PerHour(r.Steady.Secrets),
		KeysAtStart: r.PerStart(r.Start.Keys), KeysPerHour: r.PerHour(r.Steady.Keys),
	}
}

// flat is how much a cost per environment may differ between two fleets of different sizes, but for
// what is random in the smaller one.
const flat = 1.1

// Problems returns what is wrong with fleets of growing sizes.
func Problems(results []Result) (problems []string) {
	require := func(ok bool, r *Result, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Sprintf("%d environments: ", r.Environments)+fmt.Sprintf(format, args...))
		}
	}
	for i := range results {
		r := &results[i]
		peak := r.Peak()
		require(r.Exchanges() == 1, r, "%.2f exchanges per token and lifetime, want 1", r.Exchanges())
		require(r.FailedLogons <= 2, r, "%d failed logons after one rotation", r.FailedLogons)
		require(len(r.Failed) == 0, r, "vends failed: %v", r.Failed)
		require(r.Throttled == 0 && peak.Reads <= fleettest.ReadUnits && peak.Writes <= fleettest.WriteUnits, r,
			"%d calls of the table were throttled; an item was asked for %.0f read and %.0f write units in a second", r.Throttled, peak.Reads, peak.Writes)
		require(r.Largest <= fleettest.MaxItem, r, "an item has %d bytes", r.Largest)
		require(r.BusiestMinute <= serverMinute, r, "%d exchanges in a minute", r.BusiestMinute)
		require(r.Rush.Exchanges == 1 && r.Rush.Failed == 0, r, "%d exchanges for one token that all want at once, and %d failed vends", r.Rush.Exchanges, r.Rush.Failed)
		if i == 0 {
			continue
		}
		for name, before := range results[i-1].Costs() {
			now := r.Costs()[name]
			// Vends are at random times: one of ten environments may need no key in the second day.
			random := 2 * math.Sqrt(before/float64(results[i-1].Environments)) // two standard deviations
			require(now <= before*flat+random, r, "%.2f %s per environment, %.2f with %d environments", now, name, before, results[i-1].Environments)
		}
	}
	slices.Sort(problems)
	return problems
}

func total(failed map[string]int) (n int) {
	for _, times := range failed {
		n += times
	}
	return n
}
