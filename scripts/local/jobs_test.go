package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"tokenvendor/scripts/local/runtimeapi"
	"tokenvendor/scripts/local/sqs"
	"tokenvendor/shared/oauth/oauthtest"
)

// safeBuffer is a log that the functions write and the test reads.
type safeBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

const (
	drillQueue   = "drill"
	drillClients = 50
	drillOrders  = 1000
)

// drill is the stack with more environments of the batch function on a queue of its
// own, and clients whose exchanges are counted.
type drill struct {
	*stack
	log  *safeBuffer
	good map[string]string // client by message id
	bad  map[string]bool   // message ids
}

func newDrill(t *testing.T) *drill {
	d := &drill{log: &safeBuffer{}, good: make(map[string]string), bad: make(map[string]bool)}
	s, err := start(t.Context(), "", io.Discard, d.log)
	if err != nil {
		t.Fatal(err)
	}
	d.stack = s
	t.Cleanup(func() { _ = s.Close() })
	for i := range drillClients {
		id, name := fmt.Sprint("drill-", i), fmt.Sprint("drill-", i)
		s.issuer.Register(oauthtest.Client{ID: id, Methods: []string{"client_secret_post"}, Secrets: []string{"cnry-secret"}})
		document, err := json.Marshal(map[string]string{"token_endpoint": s.issuer.TokenEndpoint(), "client_id": id, "client_secret": "cnry-secret", "ca_certificates": s.ca()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.secrets.Seed(prefix+name, string(document)); err != nil {
			t.Fatal(err)
		}
	}
	d.jobs.queues.AddQueue(drillQueue, sqs.Queue{Visibility: 9 * time.Second, DeadLetter: deadQueue, MaxReceives: maxReceives})
	for i := range drillOrders {
		if i%20 == 7 {
			body := map[int]string{0: "rubbish", 1: `{"client":"nobody"}`, 2: `{"client":"drill-1","scope":"a  b"}`}[i%3]
			d.bad[d.jobs.queues.Send(drillQueue, body, nil)] = true
			continue
		}
		client := fmt.Sprint("drill-", i%drillClients)
		d.good[d.jobs.queues.Send(drillQueue, `{"client":"`+client+`","min_ttl":60}`, nil)] = client
	}
	return d
}

// run has environments, with so many events at a time each, work on the queue until it is
// empty. Meanwhile upset is called for one after the other.
func (d *drill) run(t *testing.T, environments, concurrency int, upset func(*runtimeapi.Runtime)) {
	t.Helper()
	var batches []*runtimeapi.Runtime
	for len(batches) < environments {
		if err := d.startBatch(d.log, concurrency); err != nil {
			t.Fatal(err)
		}
		batches = append(batches, d.jobs.batch)
	}
	var turn atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	mapping := sqs.Mapping{Server: d.jobs.queues, Queue: drillQueue, Concurrency: environments * concurrency, Invoke: func(ctx context.Context, event []byte) ([]byte, bool) {
		batch := batches[int(turn.Add(1))%len(batches)]
		result, err := batch.Invoke(ctx, runtimeapi.Invocation{Payload: event, Qualifier: sourcesAlias})
		return result.Payload, err != nil || result.FunctionError != ""
	}}
	go func() { defer close(ended); mapping.Run(ctx) }()
	deadline := time.Now().Add(2 * time.Minute)
	for i := 0; len(d.jobs.queues.Messages(drillQueue)) > 0 && time.Now().Before(deadline); i++ {
		time.Sleep(200 * time.Millisecond)
		upset(batches[i%len(batches)])
	}
	cancel()
	<-ended
	d.jobs.bus.Wait()
	if left := len(d.jobs.queues.Messages(drillQueue)); left > 0 {
		t.Fatalf("%d messages are left", left)
	}
}

// count checks what became of every message, and returns how many announcements and
// dead letters came more than once.
func (d *drill) count(t *testing.T) (again int) {
	t.Helper()
	claims := make(map[string]string)
	for _, event := range d.jobs.bus.Events(jobsBus) {
		var detail struct{ ID, Client, Claim string }
		if err := json.Unmarshal(event.Detail, &detail); err != nil || d.good[detail.ID] != detail.Client {
			t.Errorf("announced %s", event.Detail)
		}
		if claim, ok := claims[detail.ID]; ok {
			again++
			if claim != detail.Claim {
				t.Errorf("%s has two claims", detail.ID)
			}
		}
		claims[detail.ID] = detail.Claim
	}
	if len(claims) != len(d.good) {
		t.Errorf("%d of %d good messages were announced", len(claims), len(d.good))
	}
	dead := make(map[string]bool)
	for _, m := range d.jobs.queues.Messages(deadQueue) {
		id := m.Attributes["message_id"].StringValue
		if !d.bad[id] || m.Attributes["error"].StringValue == "" || m.Attributes["error_description"].StringValue == "" {
			t.Errorf("in the dead-letter queue: %.80s %v", m.Body, m.Attributes)
		}
		if dead[id] {
			again++
		}
		dead[id] = true
	}
	if len(dead) != len(d.bad) {
		t.Errorf("%d of %d bad messages are in the dead-letter queue", len(dead), len(d.bad))
	}
	// oauthtest's tokens are JWTs with "alg" first; claims begin with another member.
	for name, text := range map[string]string{"the log": d.log.String(), "the bus": fmt.Sprint(d.jobs.bus.Events(jobsBus)), "the queues": fmt.Sprint(d.jobs.queues.Messages(deadQueue), d.jobs.queues.Messages(readyQueue))} {
		if strings.Contains(text, "eyJhbGci") || strings.Contains(text, "cnry-") || text == "" {
			t.Errorf("%s holds a token or a secret", name)
		}
	}
	return again
}

func (d *drill) exchanges() int {
	n := 0
	for _, r := range d.issuer.Requests() {
		if strings.HasPrefix(r.Form.Get("client_id"), "drill-") {
			n++
		}
	}
	return n
}

// TestR81ThousandMessages: 1000 messages over 50 clients, one in twenty of them bad, and
// four environments of the real function, or one that takes 64 events at a time.
func TestR81ThousandMessages(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the functions and runs them")
	}
	for _, tt := range []struct{ environments, concurrency int }{{4, 1}, {1, 64}} {
		d := newDrill(t)
		d.run(t, tt.environments, tt.concurrency, func(*runtimeapi.Runtime) {})
		again := d.count(t)
		if n := d.exchanges(); n != drillClients || again != 0 {
			t.Errorf("%d exchanges for %d clients, %d announcements or dead letters came twice", n, drillClients, again)
		}
		t.Logf("%d messages: %d announced, %d dead letters, %d exchanges", drillOrders, len(d.good), len(d.bad), d.exchanges())
	}
}

// TestR82UpsetInTheMiddle: the same, while the functions' processes are ended or frozen
// again and again. Nothing is lost, and what comes twice says the same.
func TestR82UpsetInTheMiddle(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the functions and upsets them")
	}
	ended := func(sig os.Signal) func(*runtimeapi.Runtime) error {
		return func(batch *runtimeapi.Runtime) error {
			process, err := os.FindProcess(batch.PID())
			if err == nil {
				err = process.Signal(sig)
			}
			return err
		}
	}
	const environments = 4
	for name, tt := range map[string]struct {
		concurrency int
		upset       func(*runtimeapi.Runtime) error
	}{
		"killed":                {1, ended(os.Kill)},
		"ended, many at a time": {8, ended(syscall.SIGTERM)},
		"frozen":                {1, freeze},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDrill(t)
			times := 0
			d.run(t, environments, tt.concurrency, func(batch *runtimeapi.Runtime) {
				if times < 12 && batch.PID() != 0 && tt.upset(batch) == nil {
					times++
				}
			})
			again := d.count(t)
			// One that is ended has at most eight exchanges under way; one that is frozen in
			// a call of the table does without it for 30 seconds.
			most := max(drillClients+8*times, drillClients*(1+environments))
			if n := d.exchanges(); times < 2 || n < drillClients || n > most {
				t.Errorf("%d exchanges for %d clients, upset %d times", n, drillClients, times)
			}
			t.Logf("%d times: %d exchanges, %d announcements or dead letters came twice with the same id", times, d.exchanges(), again)
		})
	}
}

// freeze stops a process for longer than a call of the table may take, sometimes longer
// than a lease of the table's key.
func freeze(batch *runtimeapi.Runtime) error {
	if err := batch.Freeze(); err != nil {
		return err
	}
	time.Sleep(time.Duration(100+rand.IntN(1000)) * time.Millisecond)
	return batch.Thaw()
}

// TestClaimOverTheStack: an order by queue, redeemed by a signed call: the token that was
// fetched ahead, and by nobody else than it was meant for.
func TestClaimOverTheStack(t *testing.T) {
	s := startStack(t)
	if err := s.firstTokens(t.Context(), io.Discard); err != nil {
		t.Fatal(err)
	}
	// The second principal is a role that may have demo, in a session.
	role := strings.Split(strings.Replace(s.principals[1].ARN, ":sts:", ":iam:", 1), "/")[1]
	job := "arn:aws:iam::" + account + ":role/" + role
	order := func(body string) string {
		before := len(s.jobs.bus.Events(jobsBus))
		s.jobs.queues.Send(ordersQueue, body, nil)
		for deadline := time.Now().Add(10 * time.Second); ; {
			if events := s.jobs.bus.Events(jobsBus); len(events) > before {
				var detail struct{ Claim string }
				if err := json.Unmarshal(events[before].Detail, &detail); err != nil {
					t.Fatal(err)
				}
				return detail.Claim
			}
			if time.Now().After(deadline) {
				t.Fatal("nothing was announced")
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	free, meant := order(`{"client":"demo","scope":"read","min_ttl":900}`), order(`{"client":"demo","scope":"read","caller":"`+job+`"}`)
	exchanges := s.issuer.Exchanges()
	for _, test := range []struct {
		principal int
		claim     string
		status    int
	}{{0, free, 200}, {1, free, 200}, {1, meant, 200}, {0, meant, 403}, {0, free + "x", 403}} {
		status, body, err := s.callWith(t.Context(), s.principals[test.principal], "demo", "claim="+test.claim)
		if err != nil || status != test.status {
			t.Errorf("principal %d: status %d, want %d, %v", test.principal, status, test.status, err)
		}
		var token struct {
			ExpiresIn int `json:"expires_in"`
		}
		if err := json.Unmarshal(body, &token); err != nil || status == 200 && token.ExpiresIn < 900 {
			t.Errorf("%d seconds are left, %v", token.ExpiresIn, err)
		}
	}
	if n := s.issuer.Exchanges(); n != exchanges {
		t.Errorf("%d exchanges to redeem what was there", n-exchanges)
	}
}

// TestSourcesAlias: a schedule, a message and an event by the alias of state machines do
// nothing with the real function, and are forgeries in its log; the alias that is
// believed is not to be had over the Invoke API.
func TestSourcesAlias(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the functions and runs them")
	}
	log := new(safeBuffer)
	s, err := start(t.Context(), "", io.Discard, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	const target = "token-vendor/tokens/mine"
	if _, err := s.secretsAPI().CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String(target)}); err != nil {
		t.Fatal(err)
	}
	schedule := `{"schedule":[{"client":"` + firstClient + `","deliver_to":"` + target + `"}]}`
	for _, payload := range []string{
		schedule, `{"id":"e-1","detail-type":"TokenRequested","detail":{"client":"` + firstClient + `"}}`,
		`{"Records":[{"messageId":"m-1","eventSource":"aws:sqs","body":"{\"client\":\"` + firstClient + `\"}"}]}`,
	} {
		if kind, _ := s.jobs.invoke(t.Context(), batchAlias, []byte(payload)); kind != "access_denied" {
			t.Errorf("%.30s by %s: error %q", payload, batchAlias, kind)
		}
	}
	forged := func() int { return strings.Count(log.String(), `"type":"forged"`) }
	for end := time.Now().Add(10 * time.Second); forged() < 3 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond) // the lines come by a pipe
	}
	if n := forged(); n != 3 || len(s.jobs.bus.Events(jobsBus)) > 0 || s.holds(target) || s.issuer.Exchanges() > 0 {
		t.Errorf("%d forgeries are recorded, %d tokens announced, %d exchanged", n, len(s.jobs.bus.Events(jobsBus)), s.issuer.Exchanges())
	}
	if kind, _ := s.jobs.invoke(t.Context(), sourcesAlias, []byte(`{"client":"`+firstClient+`"}`)); kind != "access_denied" {
		t.Errorf("a request by %s: error %q", sourcesAlias, kind)
	}
	for alias, status := range map[string]int{batchAlias: http.StatusOK, sourcesAlias: http.StatusForbidden} {
		url := s.jobs.batch.URL() + "/2015-03-31/functions/" + batchName + "/invocations?Qualifier=" + alias
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(schedule))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := new(http.Client).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != status || s.holds(target) {
			t.Errorf("over the Invoke API by %s: status %d", alias, answer.StatusCode)
		}
	}
	if kind, message := s.jobs.invoke(t.Context(), sourcesAlias, []byte(schedule)); kind != "" || !s.holds(target) {
		t.Errorf("the schedule by %s delivered nothing: %s %s", sourcesAlias, kind, message)
	}
}

func (s *stack) secretsAPI() *secretsmanager.Client {
	credentials := func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "x", SecretAccessKey: "x"}, nil
	}
	return secretsmanager.New(secretsmanager.Options{Region: region, BaseEndpoint: aws.String(s.secretsURL), Credentials: aws.CredentialsProviderFunc(credentials)})
}

// holds reports whether a secret holds a token.
func (s *stack) holds(name string) bool {
	secret, err := s.secretsAPI().GetSecretValue(context.Background(), &secretsmanager.GetSecretValueInput{SecretId: aws.String(name)})
	return err == nil && strings.Contains(aws.ToString(secret.SecretString), `"access_token":"`)
}
