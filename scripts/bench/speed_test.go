package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestSpeedReportsAllRatios runs the benchmark for a moment, whatever the figures are. The
// benchmark fails if a hit makes a call, if a miss makes none, and if the token function
// prints no audit line.
func TestSpeedReportsAllRatios(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a function and starts processes of it")
	}
	var out bytes.Buffer
	dir := t.TempDir()
	picture, figures := filepath.Join(dir, "speed.svg"), filepath.Join(dir, "speed.json")
	if err := run(t.Context(), []string{"speed", "-rounds", "1", "-calls", "25", "-misses", "10", "-json", figures, "-svg", picture}, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	svg, err := os.ReadFile(picture)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(figures)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Medians map[string]map[metric]float64
		Limits  []struct {
			Metric metric
			Ratio  float64
		}
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for _, c := range everyCandidate() {
		missing := strings.Contains(out.String(), c.name+" is left out: ")
		if c.pkg != "" && missing {
			t.Errorf("%s was left out", c.name)
		}
		for _, column := range columns() {
			size := column.metric == binarySize || column.metric == zippedSize
			value, measured := got.Medians[c.name][column.metric]
			// An answer out of memory may need less CPU time than the system can measure.
			measured = measured && (value > 0 || value == 0 && c.name == "prefetch" && column.metric == firstCPU)
			if runtime.GOOS == "linux" && !missing && !measured && (c.pkg != "" || !size) {
				t.Errorf("%s has no %s; got\n%s", c.name, column.metric, out.String())
			}
		}
	}
	for _, l := range got.Limits {
		if l.Ratio <= 0 || !strings.Contains(out.String(), "\n"+string(l.Metric)+" ") {
			t.Errorf("want the ratio of %s in the report; got %v in\n%s", l.Metric, l.Ratio, out.String())
		}
		if !strings.Contains(strings.ToLower(string(svg)), ">"+strings.ToLower(string(l.Metric))+"<") {
			t.Errorf("want a panel for %s in the picture", l.Metric)
		}
	}
	if runtime.GOOS == "linux" && len(got.Limits) != 8 {
		t.Errorf("got %d limits, want 8", len(got.Limits))
	}
}

func TestSpeedRefusesFlags(t *testing.T) {
	for _, args := range [][]string{{"-rounds", "0"}, {"-misses", "0"}, {"-only", "nobody"}, {"-trust", "nobody"}, {"-nobody"}} {
		if err := run(t.Context(), append([]string{"speed"}, args...), io.Discard); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
	if run(t.Context(), []string{"nothing"}, io.Discard) == nil {
		t.Error("an unknown subcommand was accepted")
	}
}

func TestTrustStores(t *testing.T) {
	if _, err := systemRoots(); err != nil {
		t.Skip(err)
	}
	for kind, want := range map[string]struct{ folders, tokenFolders int }{trustSmall: {0, 0}, trustBundle: {0, 0}, trustAmazon: {2, 0}} {
		store, err := newTrustStore(t.TempDir(), kind, []byte("the benchmark's root"))
		if err != nil {
			t.Fatal(err)
		}
		folders, text := trustFolders(store.vars)
		tokenFolders, tokenText := trustFolders(store.tokenVars)
		if folders != want.folders || tokenFolders != want.tokenFolders {
			t.Errorf("%s: got %d and %d folders, want %+v", kind, folders, tokenFolders, want)
		}
		if text != tokenText || !strings.HasSuffix(text, "the benchmark's root") || (kind == trustSmall) != (text == "the benchmark's root") {
			t.Errorf("%s: the bundle has %d bytes", kind, len(text))
		}
	}
}

// trustFolders returns how many folders of a trust store have the bundle, and the bundle.
func trustFolders(vars []string) (n int, bundle string) {
	file := strings.TrimPrefix(vars[0], "SSL_CERT_FILE=")
	text, _ := os.ReadFile(file)
	for _, folder := range strings.Split(strings.TrimPrefix(vars[1], "SSL_CERT_DIR="), ":") {
		if copied, err := os.ReadFile(filepath.Join(folder, "ca-bundle.crt")); err == nil && bytes.Equal(copied, text) {
			n++
		}
	}
	return n, string(text)
}

func TestRatioIsTheMedianOfRounds(t *testing.T) {
	a, b := []float64{2, 30, 9}, []float64{1, 10, 9}
	if got := ratio(a, b); got != 2 {
		t.Errorf("got %v for ratios of 2, 3 and 1, want 2", got)
	}
}

func TestPercentilesAndBilledTime(t *testing.T) {
	var list []time.Duration
	for i := range 100 {
		list = append(list, time.Duration(100-i)*time.Microsecond)
	}
	if p50, p99, p100 := percentile(list, 50), percentile(list, 99), percentile(list, 100); p50 != 50*time.Microsecond || p99 != 99*time.Microsecond || p100 != 100*time.Microsecond {
		t.Errorf("got %v, %v and %v of 1 to 100 µs", p50, p99, p100)
	}
	if got := percentile(list[:1], 50); got != list[0] {
		t.Errorf("got %v of one value, want %v", got, list[0])
	}
	if got := meanBilled([]time.Duration{1, time.Millisecond, time.Millisecond + 1}); got != 4*time.Millisecond/3 {
		t.Errorf("got %v, want the mean of 1, 1 and 2 ms", got)
	}
}

func TestLimits(t *testing.T) {
	s := &speedRun{candidates: []*candidate{
		{name: tokenName, values: map[metric][]float64{hitP50: {98, 99, 102}, peakMemory: {16e6, 16e6, 16e6}, zippedSize: {4.6e6}}},
		{name: constantName, values: map[metric][]float64{hitP50: {100, 100, 100}, peakMemory: {10e6, 10e6, 10e6}}},
		{name: againName, values: map[metric][]float64{hitP50: {103, 104, 105}}},
	}}
	var out bytes.Buffer
	if failed := s.report(&out); !slices.Equal(failed, []string{"peak memory", "zip"}) {
		t.Errorf("got %v, want peak memory and zip; the report is\n%s", failed, out.String())
	}
	if !strings.Contains(out.String(), "hit p50                constant       0.99     1.00     1.04\n") {
		t.Errorf("want the ratio, the limit and the noise of a hit; got\n%s", out.String())
	}
}
