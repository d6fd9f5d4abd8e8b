package bill

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// example returns figures of which every number can be told from the others.
func example() Figures {
	every := Rhythm{Seconds: 60, Calls: 0.5, Exchanges: 0.25, SecretReads: 0.5, TableReads: 2, TableWrites: 1, KeyCalls: 0.125, LogBytes: 1000}
	with := every
	with.Table = true
	return Figures{
		Measured: "2026-11-29", Line: map[string]int{"rest": 800, "http": 850, "url": 900, "direct": 700},
		Answer: map[string]int{"rest": 1000, "http": 1000, "url": 1000, "direct": 500}, AccessLine: 400, Stored: 0.1, HitMilliseconds: 2,
		Rhythms: []Rhythm{every, with}, Served: every,
	}
}

func TestBill(t *testing.T) {
	f := example()
	for _, test := range []struct {
		source string
		want   bill
	}{
		// 0.5 M calls; 0.5 M * 2 ms + 0.25 M * 100 ms + 0.5 M * 15 ms = 33 500 s; 0.5 M reads and 0.625 M calls of KMS, 2 M
		// reads and 2 M units of writes; 1000 MB + 0.5 M * 400 bytes of log.
		{"rest", bill{gateway: 1.75, function: 0.1 + 33500*0.25*13.3334e-6, secrets: 2.5 + 1.875 + 0.25 + 1.25, logged: logs(1.2e9), transfer: 5e8 / gigabyte * 0.09}},
		{"http", bill{gateway: 0.50, function: 0.1 + 33500*0.25*13.3334e-6, secrets: 5.875, logged: logs(1.225e9), transfer: 5e8 / gigabyte * 0.09}},
		{"url", bill{function: 0.1 + 33500*0.25*13.3334e-6, secrets: 5.875, logged: logs(1.05e9), transfer: 5e8 / gigabyte * 0.09}},
		{"direct", bill{function: 0.1 + 33500*0.25*13.3334e-6, secrets: 5.875, logged: logs(0.95e9), transfer: 2.5e8 / gigabyte * 0.09}},
	} {
		for _, w := range ways() {
			if w.source != test.source {
				continue
			}
			got, want := f.bill(w, f.Served, virginia), test.want
			for i, pair := range [][2]float64{{got.gateway, want.gateway}, {got.function, want.function}, {got.secrets, want.secrets}, {got.logged, want.logged}, {got.transfer, want.transfer}} {
				if math.Abs(pair[0]-pair[1]) > 1e-9 {
					t.Errorf("%s, column %d: got %v, want %v", w.source, i, pair[0], pair[1])
				}
			}
		}
	}
	if rest := ways()[0]; f.bill(rest, f.Served, frankfurt).total() <= f.bill(rest, f.Served, virginia).total() {
		t.Error("eu-central-1 is not dearer than us-east-1")
	}
}

// logs is the price of log in us-east-1, of which a tenth is kept for 400 days.
func logs(written float64) float64 {
	return written / gigabyte * (0.50 + 0.1*0.03*400/30.4)
}

// A bill without the vendor has nothing but reads of secrets.
func TestBillWithoutTheVendor(t *testing.T) {
	f := example()
	all := f.bills(virginia)
	for i, want := range []float64{8, 8.0 / 6} {
		if own := all[len(all)-2+i]; math.Abs(own.total()-want) > 1e-9 || own.total() != own.secrets {
			t.Errorf("%s: got %v, want %v", own.name, own.total(), want)
		}
	}
}

// The document has the tables of the recorded figures.
func TestDocument(t *testing.T) {
	f, err := Recorded()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "..", filepath.FromSlash(document)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Section(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if want := Tables(f); got != want {
		t.Errorf("%s is not what go run ./scripts/bench cost -recorded prints: got\n%s\nwant\n%s", document, got, want)
	}
	if !strings.Contains(got, notChecked) || !strings.Contains(got, f.Measured) {
		t.Error("the section does not say which prices were not checked, or when the figures were measured")
	}
}

func TestPricesSayWhereTheyWereRead(t *testing.T) {
	for _, p := range prices() {
		if p.name == "" || p.units < 1 || p.virginia <= 0 || p.frankfurt < p.virginia || p.virginiaRead == "" || p.euRead == "" {
			t.Errorf("got the price %+v", p)
		}
	}
}

// TestUpdate records figures in a copy of the repository's files.
func TestUpdate(t *testing.T) {
	t.Chdir(t.TempDir())
	const before, after = "# Title\n\ntext\n\n", "\n## Next\n\nmore\n"
	for name, text := range map[string]string{document: before + section + "\nold\n" + after, "scripts/bench/bill/figures.json": "{}"} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := example()
	for range 2 {
		if err := Update(f); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(document); err != nil || string(text) != before+Tables(f)+after {
			t.Errorf("got %v and\n%s", err, text)
		}
	}
	if text, err := os.ReadFile("scripts/bench/bill/figures.json"); err != nil || !strings.Contains(string(text), `"hit_milliseconds": 2`) {
		t.Errorf("got %v and the figures %s", err, text)
	}
	if _, err := Section("# Title\n"); err == nil {
		t.Error("a document without the section has one")
	}
}

// Each figure that is not of a time is compared.
func TestDifferences(t *testing.T) {
	f := example()
	if got := f.Differences(example(), 1.01); len(got) != 0 {
		t.Errorf("got %q for equal figures", got)
	}
	less := example()
	less.Served.Calls, less.Rhythms[1].LogBytes = 0.45, 1100
	if got := less.Differences(example(), 1.25); len(got) != 0 {
		t.Errorf("got %q for figures within the ratio", got)
	}
	changes := map[string]func(*Figures){
		"line": func(f *Figures) { f.Line["url"] += 20 }, "answer": func(f *Figures) { f.Answer["direct"] -= 20 },
		"access": func(f *Figures) { f.AccessLine += 20 }, "stored": func(f *Figures) { f.Stored *= 2 },
		"fewer": func(f *Figures) { f.Rhythms = f.Rhythms[1:] }, "table": func(f *Figures) { f.Rhythms[0].Table = true },
		"seconds": func(f *Figures) { f.Served.Seconds = 1 },
	}
	rhythm := reflect.TypeFor[Rhythm]()
	for i := range rhythm.NumField() {
		if rhythm.Field(i).Type.Kind() == reflect.Float64 {
			changes[rhythm.Field(i).Name] = func(f *Figures) {
				v := reflect.ValueOf(&f.Rhythms[1]).Elem().Field(i)
				v.SetFloat(1.5 * v.Float())
			}
		}
	}
	if len(changes) != 14 {
		t.Errorf("got %d changes, want one for each member", len(changes))
	}
	for name, change := range changes {
		f := example()
		change(&f)
		if got := f.Differences(example(), 1.25); len(got) != 1 {
			t.Errorf("%s: got the differences %q, want one", name, got)
		}
	}
}
