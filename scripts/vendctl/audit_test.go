package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/scripts/vendctl/auditlog"
)

// logged is a local stack whose log has these lines.
func logged(t *testing.T, lines []map[string]any) (stackFile, logFile string) {
	t.Helper()
	var text bytes.Buffer
	for _, line := range lines {
		line["schema"] = 1
		if line["type"] == nil {
			line["type"] = "decision"
		}
		if err := json.NewEncoder(&text).Encode(line); err != nil {
			t.Fatal(err)
		}
	}
	logFile = filepath.Join(t.TempDir(), "log.jsonl")
	if err := os.WriteFile(logFile, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	stackFile = vendor(t)
	stack, err := os.ReadFile(stackFile)
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(stack, &members); err != nil {
		t.Fatal(err)
	}
	members["log"] = logFile
	if stack, err = json.Marshal(members); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stackFile, stack, 0o600); err != nil {
		t.Fatal(err)
	}
	return stackFile, logFile
}

func at(age time.Duration) string {
	return time.Now().Add(-age).UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

// A thousand vends of twenty callers: those who hold a live token are exactly those that got one.
func TestWhoHolds(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test
	now := time.Now()
	var lines []map[string]any
	want := make(map[[2]string]time.Time)
	for i := range 1000 {
		caller, client := fmt.Sprintf("aws:111122223333:role/c%d", random.IntN(20)), []string{"billing", "jwt"}[random.IntN(2)]
		age := time.Duration(random.IntN(7200)) * time.Second
		token := fmt.Sprintf("%064x", random.IntN(40))
		expires := now.Add(time.Duration(random.IntN(7200)-3600) * time.Second).Unix()
		line := map[string]any{"time": at(age), "request_id": fmt.Sprint(i), "caller": caller, "client": client, "allowed": true, "outcome": "hit", "token_sha256": token, "expires_at": expires}
		switch random.IntN(8) {
		case 2: // no caller gets these
			line["type"] = "shadow"
		case 3:
			line["source"] = []string{"radar", "prefetch"}[random.IntN(2)]
		case 0: // refused
			delete(line, "token_sha256")
			line["allowed"], line["outcome"], line["failed"] = false, "denied", "freeze"
		case 1: // a dry run
			delete(line, "token_sha256")
			line["dry_run"], line["outcome"] = true, "explained"
		default:
			if client == "billing" {
				// A token has one end. The test gives it that of its first line.
				key := [2]string{caller, token}
				for other, end := range want {
					if other[1] == token {
						line["expires_at"] = end.Unix()
					}
				}
				want[key] = time.Unix(line["expires_at"].(int64), 0)
			}
		}
		lines = append(lines, line)
	}
	maps.DeleteFunc(want, func(_ [2]string, end time.Time) bool { return !end.After(now.Add(5 * time.Second)) })
	stack, _ := logged(t, lines)
	out, errs, code := vendctl(t, "--local", stack, "-o", "json", "who-holds", "billing")
	var got []holding
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || errs != "" {
		t.Fatalf("got %d, %q, %v", code, errs, err)
	}
	got = slices.DeleteFunc(got, func(h holding) bool { return !h.Until.After(now.Add(5 * time.Second)) })
	for _, h := range got {
		if end, ok := want[[2]string{h.Caller, h.Token}]; !ok || !end.Equal(h.Until) || h.Client != "billing" {
			t.Errorf("got %+v, want its end %v", h, end)
		}
	}
	if len(got) != len(want) || len(want) < 50 {
		t.Errorf("got %d holdings, want %d", len(got), len(want))
	}
	if out, _, code := vendctl(t, "--local", stack, "who-holds", "nobody"); code != 0 || strings.Count(out, "\n") != 1 {
		t.Errorf("nobody: got %d, %q", code, out)
	}
	if _, _, code := vendctl(t, "--api", "https://vendor.example/token", "who-holds", "billing"); code != exitUsage {
		t.Errorf("without a stack: got %d, want %d", code, exitUsage)
	}
}

// The token is read on standard input, and appears nowhere.
func TestTokenSaysWhoGotIt(t *testing.T) {
	const quoted = `cnry-"\'c`
	asHex := strings.Repeat("0f", 32) // as openssl rand -hex 32 makes tokens
	fingerprints := make(map[string]string)
	var lines []map[string]any
	for _, token := range []string{"cnry-a.b.c", quoted, asHex} {
		sum := sha256.Sum256([]byte(token))
		fingerprints[token] = hex.EncodeToString(sum[:])
		lines = append(lines, map[string]any{
			"time": at(time.Minute), "caller": "aws:111122223333:role/job", "client": "billing", "allowed": true, "outcome": "hit", "rule": "team",
			"token_sha256": fingerprints[token], "expires_at": time.Now().Add(-time.Second).Unix(),
		})
	}
	stack, _ := logged(t, lines)
	for input, want := range map[string]int{
		"cnry-a.b.c\n": 0, "Authorization: Bearer cnry-a.b.c": 0, strings.ToUpper(fingerprints["cnry-a.b.c"]): 0, "another": exitNotFound, " \n": exitUsage,
		asHex: 0, fingerprints[asHex]: 0, `{"access_token": "cnry-a.b.c", "token_type": "Bearer"}`: 0, `{"access_tok`: exitUsage, `{"key": "cnry-x"}`: exitUsage,
		`ACCESS_TOKEN='cnry-"\'\''c'`: 0, `header = "Authorization: Bearer cnry-\"\\'c"`: 0, `header = "cnry-x`: exitUsage,
	} {
		var out, errs bytes.Buffer
		root := newRoot()
		root.SetArgs([]string{"--local", stack, "token", "-"})
		root.SetIn(strings.NewReader(input))
		root.SetOut(&out)
		root.SetErr(&errs)
		code := exitCode(root.ExecuteContext(context.Background()))
		if code != want || (code == 0) != strings.Contains(out.String(), "aws:111122223333:role/job  billing") || strings.Contains(out.String()+errs.String(), "cnry-") {
			t.Errorf("%q: got %d, %s, want %d", input, code, out.String(), want)
		}
	}
	if _, errs, code := vendctl(t, "--local", stack, "token", "ey.a.b"); code != exitUsage || strings.Contains(errs, "ey.a.b") {
		t.Errorf("a token as an argument: got %d, %q", code, errs)
	}
}

func TestAuditPrintsLines(t *testing.T) {
	stack, file := logged(t, []map[string]any{
		{"time": at(2 * time.Hour), "caller": "aws:111122223333:role/old", "client": "billing", "allowed": true, "outcome": "hit"},
		{"time": at(2 * time.Minute), "caller": "aws:111122223333:role/job", "client": "billing", "allowed": true, "outcome": "hit", "rule": "team", "token_sha256": strings.Repeat("0f", 32)},
		{"time": at(time.Minute), "caller": "aws:111122223333:role/bad\x1b[31m", "client": "orders", "allowed": false, "outcome": "denied", "failed": "caller", "error": "access_denied"},
	})
	for _, test := range []struct {
		args []string
		want string
		rows int
	}{
		{nil, "rule team", 2}, {[]string{"--since", "3h"}, "role/old", 3}, {[]string{"--refused"}, "failed caller, access_denied", 1},
		{[]string{"--client", "billing"}, "0f0f0f0f0f0f ", 1}, {[]string{"--caller", "aws:111122223333:role/job"}, "role/job", 1},
		{[]string{"--caller", "arn:aws:iam::111122223333:role/path/job"}, "role/job", 1},
	} {
		out, errs, code := vendctl(t, append([]string{"--local", stack, "audit"}, test.args...)...)
		if code != 0 || errs != "" || !strings.Contains(out, test.want) || strings.Count(out, "\n") != test.rows+1 || strings.Contains(out, "\x1b") {
			t.Errorf("%v: got %d, %q, %q", test.args, code, out, errs)
		}
		if out, _, _ := vendctl(t, append([]string{"--local", stack, "audit", "-o", "json"}, test.args...)...); strings.Count(out, `{"allowed":`) != test.rows {
			t.Errorf("%v: got %q, want the lines", test.args, out)
		}
	}
	if out, errs, code := vendctl(t, "--local", stack, "audit", "--caller", "arn:aws:sts::111122223333:assumed-role/job/s"); code != exitUsage || !strings.Contains(errs, "name the role") {
		t.Errorf("a session: got %d, %q, %q", code, out, errs)
	}
	// New lines follow, each once.
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out := new(lockedBuffer)
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"--local", stack, "audit", "-f", "-o", "json"}, out, out) }()
	for n := range 200 {
		if n == 20 {
			f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = fmt.Fprintf(f, `{"schema":1,"type":"decision","time":%q,"client":"late","allowed":true}`+"\n", at(0))
			_ = f.Close()
		}
		if strings.Contains(out.String(), "late") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	if code := <-ended; code != 0 || strings.Count(out.String(), "late") != 1 || strings.Count(out.String(), "role/job") != 1 {
		t.Errorf("-f: got %d, %s", code, out.String())
	}
}

// sleepyLog is a log whose first read takes so long that lines of its time are old when it ends.
type sleepyLog struct {
	lines []*auditlog.Line
	reads int
	end   context.CancelFunc
}

func (l *sleepyLog) Read(_ context.Context, q auditlog.Query, each func(*auditlog.Line) error) error {
	now := time.Now()
	for _, line := range l.lines {
		if line.Time.Before(q.From) || line.Time.After(now) {
			continue
		}
		if err := each(line); err != nil {
			return err
		}
	}
	if l.reads++; l.reads == 1 {
		time.Sleep(time.Hour)
	}
	if l.reads == 3 {
		l.end()
	}
	return nil
}

// The machine sleeps for an hour while audit -f runs. No line of this time is missing, and none is
// printed twice.
func TestFollowingLosesNoLineInAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		log := &sleepyLog{end: end}
		for _, age := range []time.Duration{-30 * time.Minute, -2 * time.Minute, 0, time.Minute, 30 * time.Minute, 59 * time.Minute} {
			log.lines = append(log.lines, &auditlog.Line{Time: time.Now().Add(age), Raw: fmt.Appendf(nil, "%q", age)})
		}
		var out bytes.Buffer
		p := &auditPrinter{out: &out, json: true}
		if err := p.follow(ctx, &watchedLog{Log: log}, auditlog.Query{From: time.Now().Add(-time.Hour)}, time.Second); err != nil {
			t.Fatal(err)
		}
		if got, want := out.String(), "\"-30m0s\"\n\"-2m0s\"\n\"0s\"\n\"1m0s\"\n\"30m0s\"\n\"59m0s\"\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestPolicyCheckAndTest(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good"), filepath.Join(dir, "bad")
	for file, text := range map[string]string{
		good: `{"rules": [{"name": "team", "callers": ["aws:111122223333:role/billing-*"], "clients": ["billing"], "scopes": ["read"]}], "freeze": ["payroll"]}`,
		bad:  `{"effekt": "audit", "rules": [{"name": "x", "clients": ["a"]}]}`,
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	caller := []string{"--caller", "aws:111122223333:role/billing-job", "--client"}
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"check", good}, 0, "its effect is enforce"},
		{[]string{"check", bad}, exitFailed, "callers"},
		{[]string{"check", good + ".none"}, exitNotFound, ""},
		{append([]string{"test", good}, append(caller, "billing", "--scope", "read")...), 0, "team"},
		{append([]string{"test", good}, append(caller, "billing", "--scope", "write")...), exitRefused, "scope"},
		{append([]string{"test", good}, append(caller, "payroll")...), exitRefused, "freeze"},
		{[]string{"test", good, "--client", "billing"}, exitUsage, ""},
		{[]string{"test", good, "--caller", "arn:aws:iam::111122223333:role/billing-job", "--client", "billing"}, 0, "team"},
		{[]string{"test", good, "--caller", "garbage", "--client", "billing"}, exitUsage, "--caller matches no caller"},
		{append([]string{"test", good}, append(caller, "Bill ing")...), exitUsage, "name of a client"},
	} {
		out, errs, code := vendctl(t, append([]string{"policy"}, test.args...)...)
		if code != test.code || !strings.Contains(out+errs, test.want) {
			t.Errorf("%v: got %d, %q, %q; want %d with %q", test.args, code, out, errs, test.code, test.want)
		}
	}
	if _, errs, _ := vendctl(t, "policy", "check", bad); !strings.Contains(errs, "effekt") || strings.Count(errs, "\n  ") < 2 {
		t.Errorf("got %q, want all problems", errs)
	}
}

// reference decides as shared/policy/README.md says, by regular expressions.
type reference struct {
	Freeze []string `json:"freeze"`
	Rules  []struct {
		Name      string    `json:"name"`
		Callers   []string  `json:"callers"`
		Clients   []string  `json:"clients"`
		Scopes    *[]string `json:"scopes,omitempty"`
		Resources *[]string `json:"resources,omitempty"`
	} `json:"rules"`
}

func anyOf(patterns []string, text string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, "[^:/]*") + "$").MatchString(text)
	})
}

func allOf(patterns *[]string, texts []string) bool {
	return patterns == nil || !slices.ContainsFunc(texts, func(text string) bool { return !anyOf(*patterns, text) })
}

func (r *reference) allows(caller, client string, scope, resource []string) bool {
	if anyOf(r.Freeze, client) {
		return false
	}
	for _, rule := range r.Rules {
		if anyOf(rule.Clients, client) && anyOf(rule.Callers, caller) && allOf(rule.Scopes, scope) && allOf(rule.Resources, resource) {
			return true
		}
	}
	return false
}

// pair is a caller whose tokens of a client change.
type pair struct{ change, caller, client string }

// randomLines returns lines, how many of them are decisions of the policy, and those that the
// candidate would change.
func randomLines(random *rand.Rand, candidate *reference) (lines []map[string]any, decisions int, want map[pair]int) {
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	some := func(from ...string) []string {
		return slices.DeleteFunc(from, func(string) bool { return random.IntN(3) > 0 })
	}
	want = make(map[pair]int)
	for i := range 10_000 {
		caller := pick("aws:111122223333:role/billing-a", "aws:111122223333:role/billing-b", "aws:111122223333:role/admin", "aws:111122223333:user/jane", "direct:nightly", "aws:999999999999:role/billing-a")
		client := pick("billing", "stock-1", "orders", "frozen-x", "payroll")
		asked, granted, resource, audience := some("read", "write", "invoice.x"), some("read", "invoice.y"), some("urn:sap:a", "urn:other"), pick("", "", "urn:sap:b", "x")
		allowed, counts := random.IntN(4) > 0, true
		line := map[string]any{
			"time": at(time.Duration(random.IntN(100_000)) * time.Second), "request_id": fmt.Sprint(i), "caller": caller, "client": client,
			"source": "rest", "outcome": "hit", "allowed": allowed,
		}
		if allowed {
			line["scope_asked"], line["scope_granted"], line["resource"] = asked, granted, resource
			if audience != "" {
				line["audience"] = audience
				resource = append(slices.Clone(resource), audience)
			}
		} else {
			asked, granted, resource = nil, nil, nil
			line["failed"] = pick("client", "caller", "scope", "resource", "freeze", "")
			counts = line["failed"] != "" // another reason than the policy
		}
		switch random.IntN(20) {
		case 0:
			line["dry_run"], counts = true, false
		case 1:
			line["type"], counts = "shadow", false
		case 2:
			line["source"], counts = pick("prefetch", "radar"), false
		}
		lines = append(lines, line)
		if !counts {
			continue
		}
		decisions++
		switch allows := candidate.allows(caller, client, slices.Concat(asked, granted), resource); {
		case allowed && !allows:
			want[pair{"loses", caller, client}]++
		case !allowed && allows:
			want[pair{"gains", caller, client}]++
		}
	}
	return lines, decisions, want
}

// On 10 000 random lines, diff finds what the reference finds.
func TestPolicyDiffFindsWhatAReferenceFinds(t *testing.T) {
	text := `{"freeze": ["frozen-*"], "rules": [
	  {"name": "team", "callers": ["aws:111122223333:role/billing-*"], "clients": ["billing", "stock-*"], "scopes": ["read", "invoice.*"]},
	  {"name": "all", "callers": ["aws:111122223333:role/admin"], "clients": ["*"]},
	  {"name": "narrow", "callers": ["direct:nightly", "aws:111122223333:user/*"], "clients": ["orders"], "resources": ["urn:sap:*"], "scopes": []}]}`
	var candidate reference
	if err := json.Unmarshal([]byte(text), &candidate); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	lines, decisions, want := randomLines(rand.New(rand.NewPCG(3, 4)), &candidate) //nolint:gosec // a test
	stack, _ := logged(t, lines)
	out, _, code := vendctl(t, "--local", stack, "-o", "json", "policy", "diff", file)
	var got struct {
		Decisions int      `json:"decisions"`
		Changes   []change `json:"changes"`
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || got.Decisions != decisions {
		t.Fatalf("got %d, %v and %d decisions, want %d", code, err, got.Decisions, decisions)
	}
	found := make(map[pair]int)
	for _, c := range got.Changes {
		found[pair{c.Change, c.Caller, c.Client}] += c.Decisions
	}
	if !maps.Equal(found, want) || len(want) < 20 {
		t.Errorf("got %d changes, want %d:\n%v\n%v", len(found), len(want), found, want)
	}
	table, _, _ := vendctl(t, "--local", stack, "policy", "diff", file)
	if !strings.Contains(table, fmt.Sprintf("%d decisions: ", decisions)) || !strings.Contains(table, "loses   aws:111122223333:user/jane") {
		t.Errorf("got %s", table[max(0, len(table)-300):])
	}
}
