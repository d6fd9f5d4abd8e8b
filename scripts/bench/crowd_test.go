package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tokenvendor/scripts/bench/clock"
)

// One drill runs with the compiled function.
func TestCrowdFindsNoProblem(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a function and starts processes of it")
	}
	var out bytes.Buffer
	if err := crowd(t.Context(), []string{"-only", "one-429"}, &out); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"348 calls, 0 failed", "hit ", "refreshed ", "its requests in 290 s            1,", "as it must be"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got no %q in\n%s", want, out.String())
		}
	}
}

func TestCrowdRefusesUnknownDrills(t *testing.T) {
	if err := crowd(t.Context(), []string{"-only", "greedy,nothing"}, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), `"nothing"`) {
		t.Errorf("got %v, want an error that names the drill", err)
	}
	if all, err := choose(drills(), func(d drill) string { return d.name }, ""); len(all) != len(drills()) || err != nil {
		t.Errorf("got %d drills, %v", len(all), err)
	}
}

func TestOnlyValuesOfTimeNowAreReplaced(t *testing.T) {
	for source, want := range map[string]string{
		"// Doc.\npackage p\n\nimport \"time\"\n\nvar now = time.Now\n":  "benchclock.Now",
		"package p\n\nimport \"time\"\n\nvar begin = time.Now()\n":       "",
		"package p\n\nfunc f() { now, start := time.Now, time.Now() }\n": "now, start := benchclock.Now, time.Now()",
		"package p\n\nvar x = uptime.Nowhere\n":                          "",
	} {
		got := string(onClock([]byte(source)))
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s\ngot %s\nwant %q in it", source, got, want)
		}
		if got != "" && (!strings.Contains(got, "package p; import benchclock ") || strings.Count(got, "\n") != strings.Count(source, "\n")+2) {
			t.Errorf("got %s, want the import in the line of the package", got)
		}
	}
}

func newTestCrowd(t *testing.T) *crowdEnv {
	t.Helper()
	event, err := os.ReadFile("events/rest-v1.json")
	if err != nil {
		t.Fatal(err)
	}
	e := &crowdEnv{clock: clock.File(filepath.Join(t.TempDir(), "clock")), event: event}
	if err := e.clock.Reset(); err != nil {
		t.Fatal(err)
	}
	e.output = newCrowdOutput(e.clock)
	return e
}

func TestRequestNamesCallerAndClient(t *testing.T) {
	event := newTestCrowd(t).request("other", "travel", "scope=a+b")
	var got struct {
		Path, Body     string
		PathParameters map[string]string
		RequestContext struct {
			Path     string
			Identity struct{ UserArn, User, Caller string }
		}
	}
	if err := json.Unmarshal(event, &got); err != nil {
		t.Fatal(err)
	}
	c := got.RequestContext
	if got.Path != "/token/travel" || c.Path != "/v1/token/travel" || got.PathParameters["client"] != "travel" || got.Body != "scope=a+b" {
		t.Errorf("got %+v", got)
	}
	if !strings.Contains(c.Identity.UserArn, ":assumed-role/other/") || c.Identity.User != c.Identity.Caller || strings.Contains(string(event), "BILLINGJOB") {
		t.Errorf("got the caller %+v", c.Identity)
	}
}

func TestPartyCountsAnswers(t *testing.T) {
	e := newTestCrowd(t)
	p := e.party("innocent")
	answer := func(status int, headers, body string) []byte {
		text, _ := json.Marshal(body)
		return fmt.Appendf(nil, `{"statusCode":%d,"headers":{%s},"body":%s}`, status, headers, text)
	}
	token := func(life time.Duration) string {
		return fmt.Sprintf(`{"access_token":"t","expires_in":60,"expires_at":%d}`, e.clock.Now().Add(life).Unix())
	}
	p.answered(answer(200, "", token(time.Minute)), nil, false, time.Millisecond)
	p.answered(answer(200, `"Token-Vendor-Warning":"old-credential"`, token(time.Minute)), nil, true, time.Millisecond)
	p.answered(answer(200, "", token(-time.Minute)), nil, true, 3*time.Millisecond)
	p.answered(answer(429, "", `{"error":"temporarily_unavailable","error_description":"wait; until 10:00"}`), nil, false, time.Millisecond)
	p.answered(nil, errThrottled, false, time.Millisecond)
	p.answered([]byte("x"), nil, false, time.Millisecond)
	if p.calls() != 6 || p.failed() != 4 || len(p.tokens) != 1 || p.cold != 2 || p.coldLost != 1 {
		t.Errorf("got %d calls, %d failed, %d tokens, %d cold, %d of them failed", p.calls(), p.failed(), len(p.tokens), p.cold, p.coldLost)
	}
	if p.warnings["old-credential"] != 1 || p.failures["429 temporarily_unavailable: wait"] != 1 || p.failures[errThrottled.Error()] != 1 {
		t.Errorf("got warnings %v, failures %v", p.warnings, p.failures)
	}
	if p.percentile(0.5) != time.Millisecond || p.percentile(1) != 3*time.Millisecond || e.party("x").percentile(1) != 0 {
		t.Errorf("got p50 %v, p100 %v", p.percentile(0.5), p.percentile(1))
	}
	var r crowdReport
	r.party("others", p)
	r.lost("others", p)
	if len(r.problems) != 1 || !strings.Contains(r.text.String(), "6 calls, 4 failed") || !strings.Contains(r.text.String(), "old-credential 1") {
		t.Errorf("got problems %q and\n%s", r.problems, r.text.String())
	}
}

func TestCrowdOutputReadsLines(t *testing.T) {
	o := newTestCrowd(t).output
	line := func(at time.Time) string {
		return `{"type":"decision","time":"` + at.UTC().Format(time.RFC3339) + `","caller":"arn:aws:iam::123456789012:role/innocent","outcome":"hit"}` + "\n"
	}
	w := o.writer()
	for _, part := range []string{line(o.clock.Now()), `{"_aws":{},"Exchanges":2}` + "\n" + `{"_aws":{},"Exch`, `anges":1}` + "\n", `{"level":"WARN"}` + "\n"} {
		if _, err := w.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if o.of("innocent") != "hit 1" || o.metric("Exchanges") != 3 || o.of("other") != "none" || o.problem != "" {
		t.Errorf("got outcomes %q, metrics %q, problem %q", o.of("innocent"), o.allMetrics(), o.problem)
	}
	for _, bad := range []string{"panic: x\n", `{"msg":"` + firstSecret + `"}` + "\n", line(o.clock.Now().Add(-time.Hour))} {
		o.problem = ""
		if _, err := o.writer().Write([]byte(bad)); err != nil || o.problem == "" {
			t.Errorf("got no problem for %s", bad)
		}
	}
}

// A drill is repeated where this machine was too slow for the table, and only there.
func TestReportRepeatsOnSlowMachines(t *testing.T) {
	for _, slow := range []bool{false, true} {
		attempts := 0
		var r crowdReport
		r.run(t.Context(), crowdRun{}, drill{name: "d", run: func(_ context.Context, _ crowdRun, r *crowdReport) error {
			attempts++
			r.slow = slow
			if attempts < 3 {
				return errors.New("no token")
			}
			return nil
		}})
		want := map[bool]int{false: 1, true: 3}[slow]
		if attempts != want || (len(r.problems) == 0) != slow {
			t.Errorf("slow %v: got %d attempts, problems %q, want %d", slow, attempts, r.problems, want)
		}
	}
}

func TestBudgetOfAWindow(t *testing.T) {
	if got := budget(time.Minute); got != minuteLimit {
		t.Errorf("got %d exchanges for a minute, want %d", got, minuteLimit)
	}
	if got := budget(6 * time.Second); got != burstLimit+50 {
		t.Errorf("got %d exchanges for 6 s, want %d", got, burstLimit+50)
	}
	now := time.Now()
	all := []tokenRequest{{client: "a", answered: now}, {client: "a", answered: now.Add(1)}, {client: "b", answered: now.Add(2)}}
	if got := silentFrom(all); !got.Equal(now.Add(2)) {
		t.Errorf("the server is silent from %v, want the second client's answer", got)
	}
}

func TestBadParameters(t *testing.T) {
	for form, bad := range map[string]bool{"scope=bad1": true, "resource=bad:1": true, "app_tid=bad1": true, "scope=reports": false, "": false} {
		values, err := url.ParseQuery(form)
		if err != nil {
			t.Fatal(err)
		}
		if got := refuseParameters(values) != nil; got != bad {
			t.Errorf("%q: refused %v, want %v", form, got, bad)
		}
	}
	if refuseParameters(url.Values{"scope": {"invalid_client"}}) == nil {
		t.Error("the scope invalid_client is not refused")
	}
}
