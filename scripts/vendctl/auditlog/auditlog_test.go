package auditlog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"

	"tokenvendor/scripts/vendctl/auditlog"
)

var begin = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

func line(second int, client, caller string, allowed bool) string {
	return fmt.Sprintf(`{"schema":1,"type":"decision","time":%q,"request_id":"r%d","caller":%q,"client":%q,"allowed":%t,"outcome":"hit"}`,
		begin.Add(time.Duration(second)*time.Second).Format("2006-01-02T15:04:05.000Z07:00"), second, caller, client, allowed)
}

// lines are those of the tests: one a second, and what else is in a log.
func lines() []string {
	all := []string{`{"requestId":"access log"}`, `{"Exchanges":1,"_aws":{}}`, "no JSON", `{"schema":"1"}`}
	for second := range 60 {
		all = append(all, line(second, []string{"billing", "orders"}[second%2], []string{"a", "b", "c"}[second%3], second%5 != 0))
	}
	return all
}

// cloudWatch is a double of CloudWatch Logs. It is safe for concurrent use.
type cloudWatch struct {
	mu      sync.Mutex
	queries []map[string]any // guarded by mu, as what follows
	results map[string][]string
	// most is how many lines a query returns, and running how often it is not done.
	most, running int
	status        string
	// created is when the log groups were created; the zero value is long ago.
	created time.Time
	// stopped are the ids of the queries that were stopped.
	stopped []string
	// asked is called when results are asked for; nil: nothing is.
	asked func()
}

func (c *cloudWatch) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in map[string]any
	_ = json.NewDecoder(r.Body).Decode(&in)
	c.mu.Lock()
	defer c.mu.Unlock()
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".StartQuery") {
		if in["endTime"].(float64) < float64(c.created.Unix()) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprint(w, `{"__type":"MalformedQueryException","message":"arn:cnry-group"}`)
			return
		}
		c.queries = append(c.queries, in)
		id := fmt.Sprint("query-", len(c.queries))
		var found []string
		for _, text := range lines() {
			var l auditlog.Line
			if json.Unmarshal([]byte(text), &l) != nil || l.Schema == 0 {
				continue
			}
			if at := float64(l.Time.Unix()); at >= in["startTime"].(float64) && at <= in["endTime"].(float64) && len(found) < c.most {
				found = append(found, text)
			}
		}
		c.results[id] = found
		_, _ = fmt.Fprintf(w, `{"queryId":%q}`, id)
		return
	}
	if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".StopQuery") {
		c.stopped = append(c.stopped, in["queryId"].(string))
		_, _ = fmt.Fprint(w, `{"success":true}`)
		return
	}
	if c.asked != nil {
		c.asked()
	}
	if c.running > 0 {
		c.running--
		_, _ = fmt.Fprint(w, `{"status":"Running","results":[]}`)
		return
	}
	var rows [][]map[string]string
	for _, text := range c.results[in["queryId"].(string)] {
		rows = append(rows, []map[string]string{{"field": "@message", "value": text}, {"field": "@ptr", "value": "p"}})
	}
	text, _ := json.Marshal(map[string]any{"status": c.status, "results": rows})
	_, _ = w.Write(text)
}

func newCloudWatch(t *testing.T) (*cloudWatch, *auditlog.CloudWatch) {
	t.Helper()
	c := &cloudWatch{results: make(map[string][]string), most: 10_000, status: "Complete"}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	api := cloudwatchlogs.NewFromConfig(aws.Config{Region: "eu-central-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("AKIA", "cnry-aws", "")})
	return c, &auditlog.CloudWatch{API: api, Groups: []string{"token", "batch"}}
}

// Both logs give the same lines.
func TestRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	all := lines()
	slices.Reverse(all)
	// The last line is still being written.
	if err := os.WriteFile(file, []byte(strings.Join(all, "\n")+"\n"+line(7, "billing", "a", true)[:50]), 0o600); err != nil {
		t.Fatal(err)
	}
	double, inAWS := newCloudWatch(t)
	for _, test := range []struct {
		q    auditlog.Query
		want int
	}{
		{auditlog.Query{From: begin}, 60},
		{auditlog.Query{From: begin.Add(10 * time.Second), To: begin.Add(20 * time.Second)}, 10},
		{auditlog.Query{From: begin, Client: "billing"}, 30},
		{auditlog.Query{From: begin, Client: "billing", Caller: "a"}, 10},
		{auditlog.Query{From: begin, Refused: true}, 12},
		{auditlog.Query{From: begin, TokenSHA256: []string{"0f", "1f"}}, 0},
		{auditlog.Query{From: begin.Add(time.Hour)}, 0},
	} {
		for name, log := range map[string]auditlog.Log{"file": auditlog.File(file), "CloudWatch": inAWS} {
			var last time.Time
			n := 0
			err := log.Read(t.Context(), test.q, func(l *auditlog.Line) error {
				if l.Time.Before(last) || !json.Valid(l.Raw) {
					t.Errorf("%s: a line is before the one that precedes it", name)
				}
				last = l.Time
				n++
				return nil
			})
			if err != nil || n != test.want {
				t.Errorf("%s: %+v: got %d lines, %v; want %d", name, test.q, n, err, test.want)
			}
		}
	}
	if !slices.ContainsFunc(double.queries, func(query map[string]any) bool {
		return strings.Contains(query["queryString"].(string), ` and token_sha256 in ["0f", "1f"] `)
	}) {
		t.Errorf("got the queries %v, want one for two tokens", double.queries)
	}
	stop := errors.New("stop")
	for _, log := range []auditlog.Log{auditlog.File(file), inAWS} {
		if err := log.Read(t.Context(), auditlog.Query{From: begin}, func(*auditlog.Line) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("got %v, want the error of the function", err)
		}
	}
	if err := auditlog.File(file+".none").Read(t.Context(), auditlog.Query{}, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v for a log that does not exist", err)
	}
}

// A time with more lines than a query returns is read in parts, each line once.
func TestCloudWatchIsReadInParts(t *testing.T) {
	double, log := newCloudWatch(t)
	var progress []float64
	log.Progress = func(part float64) { progress = append(progress, part) }
	auditlog.SetMaxRows(log, 7)
	double.most, double.running = 7, 2
	seen := make(map[string]int)
	if err := log.Read(t.Context(), auditlog.Query{From: begin, To: begin.Add(time.Minute)}, func(l *auditlog.Line) error {
		seen[l.RequestID]++
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for second := range 60 {
		if n := seen[fmt.Sprint("r", second)]; n != 1 {
			t.Errorf("the line of second %d: got it %d times", second, n)
		}
	}
	if len(progress) < 2 || !slices.IsSorted(progress) || progress[len(progress)-1] != 1 {
		t.Errorf("got the progress %v", progress)
	}
	query := double.queries[0]
	if groups := fmt.Sprint(query["logGroupNames"]); groups != "[token batch]" || !strings.Contains(query["queryString"].(string), "filter ispresent(schema)") {
		t.Errorf("got the query %v", query)
	}
}

// A log group that was created in the middle of the time has the lines since then.
func TestCloudWatchIsYoungerThanTheTime(t *testing.T) {
	double, log := newCloudWatch(t)
	auditlog.SetMaxRows(log, 7)
	double.most, double.created = 7, begin
	read := 0
	each := func(*auditlog.Line) error { read++; return nil }
	if err := log.Read(t.Context(), auditlog.Query{From: begin.Add(-30 * 24 * time.Hour), To: begin.Add(time.Minute)}, each); err != nil || read != 60 {
		t.Errorf("got %d lines, error %v; want 60", read, err)
	}
	err := log.Read(t.Context(), auditlog.Query{From: begin.Add(-time.Hour), To: begin.Add(-time.Minute * 2)}, each)
	if err == nil || !strings.Contains(err.Error(), "no lines of this time") || strings.Contains(err.Error(), "cnry-") {
		t.Errorf("got %v for a time before the log group", err)
	}
}

// An interrupted query would go on in AWS.
func TestInterruptStopsTheQuery(t *testing.T) {
	double, log := newCloudWatch(t)
	ctx, interrupt := context.WithCancel(t.Context())
	double.running, double.asked = 1000, interrupt
	if err := log.Read(ctx, auditlog.Query{From: begin}, func(*auditlog.Line) error { return nil }); err == nil {
		t.Error("got no error after an interrupt")
	}
	double.mu.Lock()
	defer double.mu.Unlock()
	if !slices.Equal(double.stopped, []string{"query-1"}) {
		t.Errorf("got the stopped queries %v, want query-1", double.stopped)
	}
}

func TestCloudWatchFails(t *testing.T) {
	double, log := newCloudWatch(t)
	each := func(*auditlog.Line) error { return nil }
	if err := log.Read(t.Context(), auditlog.Query{From: begin, Client: `x" or 1=1 | `}, each); err == nil || len(double.queries) != 0 {
		t.Errorf("got %v and %d queries, want a text refused that would change the query", err, len(double.queries))
	}
	auditlog.SetMaxRows(log, 1)
	double.most = 1
	if err := log.Read(t.Context(), auditlog.Query{From: begin, To: begin}, each); err == nil || !strings.Contains(err.Error(), "one second") {
		t.Errorf("got %v for a second with too many lines", err)
	}
	double.status = "Failed"
	if err := log.Read(t.Context(), auditlog.Query{From: begin}, each); err == nil || !strings.Contains(err.Error(), "Failed") {
		t.Errorf("got %v for a failed query", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := log.Read(ctx, auditlog.Query{From: begin}, each); err == nil || strings.Contains(err.Error(), "cnry-") {
		t.Errorf("got %v after the end", err)
	}
}

// Whatever is in a log file, reading it ends without a panic.
func FuzzFile(f *testing.F) {
	f.Add([]byte(strings.Join(lines(), "\n")))
	f.Add([]byte(`{"schema":1,"type":"decision","time":"x"}` + "\n"))
	file := filepath.Join(f.TempDir(), "log")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := auditlog.File(file).Read(t.Context(), auditlog.Query{}, func(l *auditlog.Line) error {
			if l.Schema == 0 || l.Type == "" || !json.Valid(l.Raw) {
				t.Errorf("got the line %q", l.Raw)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
}

// Only a decision about a caller's own request has a holder.
func TestAsked(t *testing.T) {
	for text, want := range map[string]bool{
		`{"schema":1,"type":"decision","source":"rest","caller":"aws:1:role/a"}`:               true,
		`{"schema":1,"type":"decision","source":"direct","claim_id":"c"}`:                      true,
		`{"schema":1,"type":"decision","source":"schedule","caller":"deliver:a"}`:              true,
		`{"schema":1,"type":"decision","source":"sqs","caller":"source:queue/a","ahead":true}`: false,
		`{"schema":1,"type":"decision","source":"direct","caller":"direct:jobs","ahead":true}`: false,
		`{"schema":1,"type":"decision","source":"radar"}`:                                      false,
		`{"schema":1,"type":"shadow","source":"rest"}`:                                         false,
	} {
		var l auditlog.Line
		if err := json.Unmarshal([]byte(text), &l); err != nil || l.Asked() != want {
			t.Errorf("%s: got %t, error %v; want %t", text, l.Asked(), err, want)
		}
	}
}
