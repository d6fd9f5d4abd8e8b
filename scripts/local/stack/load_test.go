package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tokenvendor/scripts/local/runtimeapi"
	"tokenvendor/scripts/local/sqs"
	"tokenvendor/shared/oauth/oauthtest"
)

const (
	loadQueue   = "load"
	loadClients = 50
	loadOrders  = 1000
)

// load is a stack with a queue of many orders, one in twenty of them bad.
type load struct {
	*stack
	log  *output
	good map[string]string // client by message id
	bad  map[string]bool   // message ids
}

// newLoad starts a stack with orders, which are visible again so long after they were received.
func newLoad(t *testing.T, visibility time.Duration) *load {
	t.Helper()
	l := &load{log: new(output), good: make(map[string]string), bad: make(map[string]bool)}
	l.stack = startStack(t, l.log)
	for i := range loadClients {
		name := fmt.Sprint("load-", i)
		l.issuer.Register(oauthtest.Client{ID: name, Methods: []string{"client_secret_post"}, Secrets: []string{"cnry-secret"}})
		document, err := json.Marshal(map[string]string{"token_endpoint": l.issuer.TokenEndpoint(), "client_id": name, "client_secret": "cnry-secret", "ca_certificates": l.ca()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.secrets.Seed(prefix+name, string(document)); err != nil {
			t.Fatal(err)
		}
	}
	l.jobs.queues.AddQueue(loadQueue, sqs.Queue{Visibility: visibility, DeadLetter: deadQueue, MaxReceives: maxReceives})
	for i := range loadOrders {
		if i%20 == 7 {
			body := map[int]string{0: "rubbish", 1: `{"client":"nobody"}`, 2: `{"client":"load-1","scope":"a  b"}`}[i%3]
			l.bad[l.jobs.queues.Send(loadQueue, body, nil)] = true
			continue
		}
		client := fmt.Sprint("load-", i%loadClients)
		l.good[l.jobs.queues.Send(loadQueue, `{"client":"`+client+`","min_ttl":60}`, nil)] = client
	}
	return l
}

// run starts environments of the batch function, with concurrency events at a time each,
// which work until the queue is empty. Meanwhile it calls disturb for one environment after
// the other.
func (l *load) run(t *testing.T, environments, concurrency int, disturb func(*runtimeapi.Runtime)) {
	t.Helper()
	var batches []*runtimeapi.Runtime
	for len(batches) < environments {
		if err := l.startBatch(concurrency); err != nil {
			t.Fatal(err)
		}
		batches = append(batches, l.jobs.batch)
	}
	var events atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	mapping := sqs.Mapping{Server: l.jobs.queues, Queue: loadQueue, Concurrency: environments * concurrency, Invoke: func(ctx context.Context, event []byte) ([]byte, bool) {
		batch := batches[int(events.Add(1))%len(batches)]
		result, err := batch.Invoke(ctx, runtimeapi.Invocation{Payload: event, Qualifier: queueAlias})
		return result.Payload, err != nil || result.FunctionError != ""
	}}
	go func() { defer close(ended); mapping.Run(ctx) }()
	deadline := time.Now().Add(2 * time.Minute)
	for i := 0; len(l.jobs.queues.Messages(loadQueue)) > 0 && time.Now().Before(deadline); i++ {
		time.Sleep(200 * time.Millisecond)
		disturb(batches[i%len(batches)])
	}
	cancel()
	<-ended
	l.jobs.bus.Wait()
	if left := len(l.jobs.queues.Messages(loadQueue)); left > 0 {
		t.Fatalf("%d messages are still in the queue", left)
	}
}

// check fails the test unless each good order was announced and each bad one is in the
// dead-letter queue. It returns the number of repeated announcements and dead letters.
func (l *load) check(t *testing.T) (repeated int) {
	t.Helper()
	repeated = l.checkAnnouncements(t) + l.checkDeadLetters(t)
	// The tokens of oauthtest are JWTs whose header begins with "alg"; that of claims does
	// not.
	for name, text := range map[string]string{"log": l.log.String(), "bus": fmt.Sprint(l.jobs.bus.Events(jobsBus)), "queues": fmt.Sprint(l.jobs.queues.Messages(deadQueue), l.jobs.queues.Messages(readyQueue))} {
		if strings.Contains(text, "eyJhbGci") || strings.Contains(text, "cnry-") || text == "" {
			t.Errorf("%s: it is empty or contains a token or a secret", name)
		}
	}
	return repeated
}

func (l *load) checkAnnouncements(t *testing.T) (repeated int) {
	t.Helper()
	claims := make(map[string]string)
	for _, event := range l.jobs.bus.Events(jobsBus) {
		var detail struct{ ID, Client, Claim string }
		if err := json.Unmarshal(event.Detail, &detail); err != nil || l.good[detail.ID] != detail.Client {
			t.Errorf("got the announcement %s", event.Detail)
		}
		if claim, ok := claims[detail.ID]; ok {
			repeated++
			if claim != detail.Claim {
				t.Errorf("the order %s has two claims", detail.ID)
			}
		}
		claims[detail.ID] = detail.Claim
	}
	if len(claims) != len(l.good) {
		t.Errorf("%d of %d good orders were announced", len(claims), len(l.good))
	}
	return repeated
}

func (l *load) checkDeadLetters(t *testing.T) (repeated int) {
	t.Helper()
	dead := make(map[string]bool)
	for _, m := range l.jobs.queues.Messages(deadQueue) {
		id := m.Attributes["message_id"].StringValue
		if !l.bad[id] || m.Attributes["error"].StringValue == "" || m.Attributes["error_description"].StringValue == "" {
			t.Errorf("got the dead letter %.80s %v", m.Body, m.Attributes)
		}
		if dead[id] {
			repeated++
		}
		dead[id] = true
	}
	if len(dead) != len(l.bad) {
		t.Errorf("%d of %d bad orders are in the dead-letter queue", len(dead), len(l.bad))
	}
	return repeated
}

func (l *load) exchanges() int {
	n := 0
	for _, r := range l.issuer.Requests() {
		if strings.HasPrefix(r.Form.Get("client_id"), "load-") {
			n++
		}
	}
	return n
}

// TestThousandOrdersMakeOneExchangePerClient with four environments, and with one that
// processes 64 events at a time.
func TestThousandOrdersMakeOneExchangePerClient(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the functions and runs them")
	}
	for _, tt := range []struct{ environments, concurrency int }{{4, 1}, {1, 64}} {
		l := newLoad(t, time.Minute)
		l.run(t, tt.environments, tt.concurrency, func(*runtimeapi.Runtime) {})
		repeated := l.check(t)
		if n := l.exchanges(); n != loadClients || repeated != 0 {
			t.Errorf("got %d exchanges and %d repetitions, want %d and none", n, repeated, loadClients)
		}
		t.Logf("%d orders: %d announced, %d dead letters, %d exchanges", loadOrders, len(l.good), len(l.bad), l.exchanges())
	}
}

// TestNoOrderIsLostWhenProcessesDieOrFreeze: a repeated announcement or dead letter equals
// the first one.
func TestNoOrderIsLostWhenProcessesDieOrFreeze(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the functions and disturbs them")
	}
	send := func(signal os.Signal) func(*runtimeapi.Runtime) error {
		return func(batch *runtimeapi.Runtime) error {
			process, err := os.FindProcess(batch.PID())
			if err == nil {
				err = process.Signal(signal)
			}
			return err
		}
	}
	const environments = 4
	for name, tt := range map[string]struct {
		concurrency int
		disturb     func(*runtimeapi.Runtime) error
	}{
		"killed":                            {1, send(os.Kill)},
		"terminated with concurrent events": {8, send(syscall.SIGTERM)},
		"frozen":                            {1, freeze},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLoad(t, 9*time.Second)
			times := 0
			l.run(t, environments, tt.concurrency, func(batch *runtimeapi.Runtime) {
				if times < 12 && batch.PID() != 0 && tt.disturb(batch) == nil {
					times++
				}
			})
			repeated := l.check(t)
			// A process that dies has at most eight exchanges in flight. One that is frozen
			// during a call of the table works without the table for 30 seconds.
			most := max(loadClients+8*times, loadClients*(1+environments))
			if n := l.exchanges(); times < 2 || n < loadClients || n > most {
				t.Errorf("got %d exchanges after %d disturbances, want %d to %d and at least 2", n, times, loadClients, most)
			}
			t.Logf("%d disturbances: %d exchanges, %d repeated announcements or dead letters", times, l.exchanges(), repeated)
		})
	}
}

// freeze stops a process for longer than a call of the table may take, and sometimes for
// longer than the lease of the table's key.
func freeze(batch *runtimeapi.Runtime) error {
	if err := batch.Freeze(); err != nil {
		return err
	}
	time.Sleep(time.Duration(100+rand.IntN(1000)) * time.Millisecond)
	return batch.Thaw()
}
