package bill

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// What the table assumes beside the figures. memory is template.yaml's default.
const (
	vends      = 1e6
	memory     = 0.25  // GB
	exchange   = 0.100 // seconds that an exchange takes
	secretRead = 0.015 // seconds that a read of a secret takes
	// readUnit and writeUnit are the units of a call of the table: a row has at most 4 KB and 2 KB.
	readUnit, writeUnit = 1, 2
	// keptMonths are template.yaml's 400 days.
	keptMonths = 400 / 30.4
	// ownEnvironments is in how many environments a workload without the vendor keeps its token,
	// which lives for ownLife seconds.
	ownEnvironments, ownLife = 10, 3600
)

// rhythm is that of the first table: a vend each minute.
const rhythm = 60

// section is the heading of the tables in the document.
const section = "## A million vends\n"

// bill is the cost of a million vends in US dollars.
type bill struct {
	name                                         string
	gateway, function, secrets, logged, transfer float64
}

func (b bill) total() float64 { return b.gateway + b.function + b.secrets + b.logged + b.transfer }

// way is a way to the function.
type way struct {
	name, source string
	gateway      int // row of the price; -1: none
	access       bool
}

func ways() []way {
	return []way{
		{"REST API (`Api`, the default)", "rest", callsOfREST, true},
		{"HTTP API", "http", callsOfHTTP, true},
		{"Function URL", "url", -1, false},
		{"direct invoke", "direct", -1, false},
	}
}

// bill returns the cost of vends in the rhythm r.
func (f *Figures) bill(w way, r Rhythm, in region) bill {
	b := bill{name: w.name}
	calls := vends * r.Calls
	if w.gateway >= 0 {
		b.gateway = in.of(w.gateway, calls)
	}
	seconds := calls*float64(f.HitMilliseconds)/1000 + vends*(r.Exchanges*exchange+r.SecretReads*secretRead)
	b.function = in.of(invocations, calls) + in.of(gigabyteSeconds, seconds*memory)
	b.secrets = secrets(in, r)
	line := f.Line[w.source] - f.Line["rest"]
	if w.access {
		line += f.AccessLine
	}
	written := vends*r.LogBytes + calls*float64(line)
	b.logged = in.of(logBytes, written) + in.of(logMonths, written*f.Stored*keptMonths)
	b.transfer = in.of(transfer, calls*float64(f.Answer[w.source]))
	return b
}

// secrets returns what secrets, their key and the table cost. Secrets Manager calls KMS for
// each read.
func secrets(in region, r Rhythm) float64 {
	return in.of(secretReads, vends*r.SecretReads) + in.of(keyCalls, vends*(r.SecretReads+r.KeyCalls)) +
		in.of(tableReads, vends*r.TableReads*readUnit) + in.of(tableWrites, vends*r.TableWrites*writeUnit)
}

// bills returns the rows of the first table.
func (f *Figures) bills(in region) []bill {
	var all []bill
	for _, w := range ways() {
		all = append(all, f.bill(w, f.rhythm(rhythm, false), in))
	}
	served := ways()[0]
	served.name = "`vendctl serve`, REST API"
	all = append(all, f.bill(served, f.Served, in))
	for _, own := range []struct {
		name  string
		reads float64
	}{
		{"without the vendor: each workload reads the secret and makes an exchange for each call", 1},
		{fmt.Sprintf("without the vendor: each of a workload's %d environments keeps secret and token for an hour", ownEnvironments), ownEnvironments * float64(rhythm) / ownLife},
	} {
		all = append(all, bill{name: own.name, secrets: secrets(in, Rhythm{SecretReads: own.reads})})
	}
	return all
}

func (f *Figures) rhythm(seconds int, table bool) Rhythm {
	for _, r := range f.Rhythms {
		if r.Seconds == seconds && r.Table == table {
			return r
		}
	}
	return Rhythm{}
}

// Tables returns the section of functions/COSTS.md with the tables.
func Tables(f Figures) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nUS dollars, without `SharedCache` and X-Ray. Each client is asked once a minute, in two environments of 256 MB; tokens live for\nan hour. Measured on %s; the first five columns are of us-east-1.\n\n", section, f.Measured)
	b.WriteString("| way | gateway | function | secrets, KMS | logs | transfer | us-east-1 | eu-central-1 |\n|---|---|---|---|---|---|---|---|\n")
	there := f.bills(frankfurt)
	for i, c := range f.bills(virginia) {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | **%.2f** | **%.2f** |\n", c.name, dollars(c.gateway), dollars(c.function), dollars(c.secrets), dollars(c.logged), dollars(c.transfer), c.total(), there[i].total())
	}
	fmt.Fprintf(&b, "\n`Tracing=Active`, the default, adds up to %.2f for any way: X-Ray records the first call of each second and 5 %% of the others.\n`Tracing=PassThrough` adds nothing.\n", virginia.of(traces, vends))
	fmt.Fprintf(&b, "\nA hit is billed as %d ms. By the REST API its audit line has %d bytes, the line of the access log %d and the answer %d; %.0f %% of the\nlogs remains after gzip and is kept for 400 days.\n", f.HitMilliseconds, f.Line["rest"], f.AccessLine, f.Answer["rest"], 100*f.Stored)
	f.rhythmTable(&b)
	priceTable(&b)
	return b.String()
}

func dollars(d float64) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", d)
}

// rhythmTable appends what the time between two vends of a client changes.
func (f *Figures) rhythmTable(b *strings.Builder) {
	b.WriteString("\nThe rhythm decides how often a secret is read. Exchanges and reads of 100 vends, and what secrets, KMS and the table cost in\nus-east-1, without and with `SharedCache`:\n\n")
	b.WriteString("| between two vends | exchanges | with | reads | with | USD | with |\n|---|---|---|---|---|---|---|\n")
	for _, r := range f.Rhythms {
		if r.Table {
			continue
		}
		with := f.rhythm(r.Seconds, true)
		fmt.Fprintf(b, "| %s | %.1f | %.1f | %.0f | %.0f | %.2f | %.2f |\n", interval(r.Seconds), 100*r.Exchanges, 100*with.Exchanges, 100*r.SecretReads, 100*with.SecretReads, secrets(virginia, r), secrets(virginia, with))
	}
}

func interval(seconds int) string {
	switch {
	case seconds%3600 == 0:
		return fmt.Sprintf("%d h", seconds/3600)
	case seconds%60 == 0:
		return fmt.Sprintf("%d min", seconds/60)
	}
	return fmt.Sprintf("%d s", seconds)
}

func priceTable(b *strings.Builder) {
	b.WriteString("\nList prices of the first tier, and where copies of them were read:\n\n| price of | us-east-1 | read in | eu-central-1 | read in |\n|---|---|---|---|---|\n")
	for _, p := range prices() {
		fmt.Fprintf(b, "| %s | %.6g | %s | %.6g | %s |\n", p.name, p.virginia, p.virginiaRead, p.frankfurt, p.euRead)
	}
}

// document is where the tables are, in the repository.
const document = "functions/COSTS.md"

// Section returns the part of a document that Tables writes.
func Section(text string) (string, error) {
	begin := strings.Index(text, section)
	if begin < 0 {
		return "", errors.New(document + " has no section of the tables")
	}
	end := strings.Index(text[begin+len(section):], "\n## ")
	if end < 0 {
		return text[begin:], nil
	}
	return text[begin : begin+len(section)+end], nil
}

// Update records figures, and writes the tables to the document. It must be called in the
// repository's directory.
func Update(f Figures) error {
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	old, err := Section(string(text))
	if err != nil {
		return err
	}
	figures, err := json.MarshalIndent(f, "", " ")
	if err != nil {
		return err
	}
	changed := strings.Replace(string(text), old, Tables(f), 1)
	// #nosec G306 -- both are files of the repository, which everybody may read.
	return errors.Join(
		os.WriteFile(filepath.FromSlash(document), []byte(changed), 0o644),
		os.WriteFile("scripts/bench/bill/figures.json", append(figures, '\n'), 0o644),
	)
}
