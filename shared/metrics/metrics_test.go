package metrics_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"tokenvendor/shared/metrics"
)

// TestFlushWritesEmbeddedMetricFormat compares with the example in the specification.
func TestFlushWritesEmbeddedMetricFormat(t *testing.T) {
	var out bytes.Buffer
	m := metrics.New(metrics.Config{Output: &out, Namespace: "TokenVendor", Now: func() time.Time { return time.UnixMilli(1574109732004) }})
	m.Flush()
	if out.Len() != 0 {
		t.Errorf("got %s without counts, want no line", out.String())
	}
	m.Count("Exchanges")
	m.Count("FailedLogons")
	m.Count("Exchanges")
	m.Count(`a"b`)
	m.Flush()
	m.Flush()
	want := `{"_aws":{"Timestamp":1574109732004,"CloudWatchMetrics":[{"Namespace":"TokenVendor","Dimensions":[[]],` +
		`"Metrics":[{"Name":"Exchanges","Unit":"Count"},{"Name":"FailedLogons","Unit":"Count"},{"Name":"a\"b","Unit":"Count"}]}]},"Exchanges":2,"FailedLogons":1,"a\"b":1}`
	var got, wanted any
	if json.Unmarshal([]byte(want), &wanted) != nil || json.Unmarshal(out.Bytes(), &got) != nil || !reflect.DeepEqual(got, wanted) {
		t.Errorf("got %s, want %s", out.String(), want)
	}
	if n := bytes.Count(out.Bytes(), []byte("\n")); n != 1 {
		t.Errorf("got %d lines, want 1", n)
	}
}

// writer adds up the metric X of all lines.
type writer struct {
	mu  sync.Mutex
	sum int
}

func (w *writer) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range bytes.Lines(line) {
		var counts struct{ X int }
		if err := json.Unmarshal(one, &counts); err != nil {
			return 0, err
		}
		w.sum += counts.X
	}
	return len(line), nil
}

func TestConcurrentFlushesLoseNoCount(t *testing.T) {
	w := &writer{}
	m := metrics.New(metrics.Config{Output: w, Namespace: "n"})
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 100 {
				m.Count("X")
				m.Flush()
				if n, err := m.Write([]byte("{}\n")); n != 3 || err != nil {
					t.Errorf("got %d, %v for a line of 3 bytes", n, err)
				}
			}
		})
	}
	all.Wait()
	m.Flush()
	if w.sum != 1600 {
		t.Errorf("got sum %d, want 1600", w.sum)
	}
}

func BenchmarkFlushWithoutCounts(b *testing.B) {
	m := metrics.New(metrics.Config{Namespace: "n"})
	b.ReportAllocs()
	for b.Loop() {
		m.Flush()
	}
}

// TestReportWritesMetricForAllAndForEach: A report is one line of the embedded metric format, or a
// line without metrics.
func TestReportWritesMetricForAllAndForEach(t *testing.T) {
	var out bytes.Buffer
	m := metrics.New(metrics.Config{Output: &out, Namespace: "N", Now: func() time.Time { return time.UnixMilli(1) }})
	properties := map[string]any{"Client": "billing", "state": "good"}
	m.Report(&metrics.Gauge{Name: "DaysToExpiry", Value: -3, Dimension: "Client", Overall: true}, properties)
	m.Report(&metrics.Gauge{Name: "DaysToExpiry", Value: 6, Dimension: "Client"}, properties)
	m.Report(nil, properties)
	want := `{"Client":"billing","DaysToExpiry":-3,"_aws":{"CloudWatchMetrics":[{"Namespace":"N","Dimensions":[["Client"],[]],` +
		`"Metrics":[{"Name":"DaysToExpiry","Unit":"None"}]}],"Timestamp":1},"state":"good"}` + "\n" +
		`{"Client":"billing","DaysToExpiry":6,"_aws":{"CloudWatchMetrics":[{"Namespace":"N","Dimensions":[["Client"]],` +
		`"Metrics":[{"Name":"DaysToExpiry","Unit":"None"}]}],"Timestamp":1},"state":"good"}` + "\n" + `{"Client":"billing","state":"good"}` + "\n"
	if out.String() != want {
		t.Errorf("got %s, want %s", out.String(), want)
	}
	if len(properties) != 2 {
		t.Errorf("the caller's properties were changed: %v", properties)
	}
}

// failing is a writer that takes no line while it is broken.
type failing struct {
	bytes.Buffer
	broken bool
	writes int
}

func (f *failing) Write(p []byte) (int, error) {
	if f.broken {
		return 0, errors.New("broken")
	}
	f.writes++
	return f.Buffer.Write(p)
}

// TestFlushKeepsCountsThatWereNotWritten: The count of lines that could not be written must not be
// lost with them.
func TestFlushKeepsCountsThatWereNotWritten(t *testing.T) {
	out := &failing{broken: true}
	m := metrics.New(metrics.Config{Output: out, Namespace: "N"})
	m.Count("AuditFailures")
	m.Flush()
	m.Count("AuditFailures")
	m.Count("Denied")
	m.Flush()
	out.broken = false
	m.Flush()
	m.Flush()
	var line struct{ AuditFailures, Denied int }
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.AuditFailures != 2 || line.Denied != 1 {
		t.Errorf("got %s, error %v; want 2 and 1 in one line", out.String(), err)
	}
}

// TestWriteWritesCountsWithLineOfOtherLog: Output gets both lines at once, and the caller the result
// of its own line.
func TestWriteWritesCountsWithLineOfOtherLog(t *testing.T) {
	const line = "{\"a\":1}\n"
	out := &failing{}
	m := metrics.New(metrics.Config{Output: out, Namespace: "n", Now: func() time.Time { return time.UnixMilli(1) }})
	text := append(make([]byte, 0, 4096), line...) // with room that is the caller's
	write := func() {
		t.Helper()
		if n, err := m.Write(text); n != len(line) || err != nil {
			t.Errorf("got %d, %v; want %d, no error", n, err, len(line))
		}
	}
	write()
	m.Count("X")
	out.broken = true
	if n, err := m.Write(text); n != 0 || err == nil {
		t.Errorf("the output is broken: got %d, %v; want an error", n, err)
	}
	out.broken, out.writes = false, 0
	m.Count("X")
	write()
	m.Flush()
	const counts = `{"_aws":{"Timestamp":1,"CloudWatchMetrics":[{"Namespace":"n","Dimensions":[[]],"Metrics":[{"Name":"X","Unit":"Count"}]}]},"X":2}` + "\n"
	if want := line + line + counts; out.String() != want || out.writes != 1 {
		t.Errorf("got %q in %d writes after the first one, want %q in 1", out.String(), out.writes, want)
	}
	if rest := text[len(line):cap(text)]; len(bytes.Trim(rest, "\x00")) > 0 {
		t.Errorf("the room behind the caller's line has %q", rest)
	}
}
