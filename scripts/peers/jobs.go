package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"tokenvendor/scripts/local/runtimeapi"
)

const (
	ordersQueue, deadQueue, readyQueue = "peers-orders", "peers-dead-letters", "peers-ready"
	jobsBus                            = "peers-tokens"
	// directAlias is for callers that get claims, the others for queue, bus and schedule.
	directAlias, queueAlias, busAlias, scheduleAlias = "jobs", "queue", "bus", "schedule"
	// deliveryPrefix begins the names of the secrets that the function may write.
	deliveryPrefix = "token-vendor/tokens/"
)

// jobs is the batch function with queues, a bus and secrets of externalAWS.
type jobs struct {
	*env
	external externalAWS
	batch    *runtimeapi.Runtime
	queue    map[string]string // URLs by name
	row      row               // the client of all jobs
	orders   []message         // the messages that fromQueue sent
	seen     map[string]string // the content of received messages, by queue and id
	claim    string            // of the first token that was announced
	secret   string            // the name of the secret for deliveries
}

// job is one kind of work of the batch function, and its result.
type job struct{ what, problem string }

// jobClients returns the client of all jobs and another one; none without the batch
// function, or if the server takes no secrets.
func (e *env) jobClients(p *peer, binary string) []row {
	if binary == "" || !p.takesSecrets() {
		return nil
	}
	return []row{e.secretRow("jobs", p.secretMethod(), "secret"), e.secretRow("other-jobs", p.secretMethod(), "secret")}
}

// runJobs stores the documents of the clients and runs all jobs.
func (e *env) runJobs(ctx context.Context, s *server, binary string, clients []row) ([]job, error) {
	for _, r := range clients {
		if err := e.store(s, r); err != nil {
			return nil, err
		}
	}
	j, err := e.startJobs(binary, clients[0])
	if err != nil {
		return nil, err
	}
	return j.run(ctx), j.batch.Close()
}

// checkCost checks the counts of all jobs together: they need one exchange, or two if the
// table answers so late that each function makes its own.
func checkCost(t tally) job {
	d := job{what: fmt.Sprintf("all of them together: %d token requests, %d failed logons, %d exchanges", t.requests, t.failedLogons, t.granted)}
	if t.granted < 1 || t.granted > 2 || t.requests != t.granted || t.failedLogons > 0 {
		d.problem = "want one exchange, or two, and no other token request"
	}
	return d
}

// startJobs makes the queues and the bus and starts the batch function. r is the client of
// all jobs.
func (e *env) startJobs(binary string, r row) (*jobs, error) {
	external, ok := e.aws.(externalAWS)
	if !ok {
		return nil, errors.New("jobs need external services of AWS; the tests of the local stack cover its own")
	}
	j := &jobs{env: e, external: external, queue: make(map[string]string), row: r, seen: make(map[string]string), secret: deliveryPrefix + strings.ToLower(rand.Text())}
	for _, name := range []string{ordersQueue, deadQueue, readyQueue} {
		var made struct {
			QueueURL string `json:"QueueUrl"`
		}
		if err := call(external.url, "AmazonSQS.CreateQueue", map[string]string{"QueueName": name}, &made); err != nil {
			return nil, err
		}
		j.queue[name] = made.QueueURL
		if err := call(external.url, "AmazonSQS.PurgeQueue", map[string]string{"QueueUrl": made.QueueURL}, nil); err != nil {
			return nil, err
		}
	}
	// An error means that the bus exists from an earlier run.
	_ = call(external.url, "AWSEvents.CreateEventBus", map[string]string{"Name": jobsBus}, nil)
	ready := "arn:aws:sqs:" + region + ":" + account + ":" + readyQueue
	for _, step := range []struct {
		target string
		in     map[string]any
	}{
		{"AWSEvents.PutRule", map[string]any{"Name": "ready", "EventBusName": jobsBus, "EventPattern": `{"source":["token-vendor"],"detail-type":["TokenReady"]}`}},
		{"AWSEvents.PutTargets", map[string]any{"Rule": "ready", "EventBusName": jobsBus, "Targets": []any{map[string]string{"Id": "1", "Arn": ready}}}},
	} {
		if err := call(external.url, step.target, step.in, nil); err != nil {
			return nil, err
		}
	}
	var err error
	j.batch, err = runtimeapi.Start(runtimeapi.Config{
		Binary: binary, FunctionName: "token-vendor-batch", Region: region, Account: account, Alias: directAlias, Timeout: answerTime,
		Stdout: &lineWriter{each: e.audit}, Stderr: io.Discard,
		Env: append(e.vars(), "EVENT_BUS_NAME="+jobsBus, "DEAD_LETTER_QUEUE_URL="+j.queue[deadQueue], "QUEUE_ALIAS="+queueAlias, "BUS_ALIAS="+busAlias, "SCHEDULE_ALIAS="+scheduleAlias,
			"AWS_ENDPOINT_URL_SQS="+external.url, "AWS_ENDPOINT_URL_EVENTBRIDGE="+external.url),
	})
	if err == nil {
		e.closers = append(e.closers, j.batch.Close)
	}
	return j, err
}

// run runs all jobs in order and stops after a failure: each needs the ones before it.
func (j *jobs) run(ctx context.Context) (done []job) {
	for _, step := range []struct {
		what string
		run  func(context.Context) error
	}{
		{"orders from SQS: a token is announced on EventBridge, invalid orders go to the dead-letter queue with the reason", j.fromQueue},
		{"the same messages again: nothing is announced or dead-lettered", j.fromQueueAgain},
		{"an order from EventBridge: a token is announced", j.fromBus},
		{"a direct invoke: a claim, or an error code", j.direct},
		{"a claim: redeemed by the token function, for its own client only", j.redeem},
		{"a schedule: a token is delivered into a secret of Secrets Manager", j.deliver},
		{"the same schedule again: the secret does not change", j.schedule},
	} {
		d := job{what: step.what}
		if err := step.run(ctx); err != nil {
			d.problem = err.Error()
		}
		done = append(done, d)
		if d.problem != "" {
			break
		}
	}
	return done
}

// fromQueue sends orders to the queue and passes them to the function as Lambda's event
// source mapping does.
func (j *jobs) fromQueue(ctx context.Context) error {
	for _, body := range []string{`{"client":"` + j.row.client + `","min_ttl":60}`, "rubbish", `{"client":"unknown-client"}`} {
		if err := call(j.external.url, "AmazonSQS.SendMessage", map[string]string{"QueueUrl": j.queue[ordersQueue], "MessageBody": body}, nil); err != nil {
			return err
		}
	}
	var err error
	if j.orders, err = j.receive(ordersQueue, 3); err != nil {
		return err
	}
	if err := j.sendBatch(ctx, j.orders); err != nil {
		return err
	}
	announced, err := j.announced(1)
	if err != nil {
		return err
	}
	j.claim = announced[0].Claim
	dead, err := j.receive(deadQueue, 2)
	if err != nil {
		return err
	}
	reasons := make([]string, 0, len(dead))
	for _, m := range dead {
		reasons = append(reasons, m.MessageAttributes["error"].StringValue)
	}
	if slices.Sort(reasons); !slices.Equal(reasons, []string{"access_denied", "invalid_request"}) {
		return fmt.Errorf("got the reasons %q, want access_denied and invalid_request", reasons)
	}
	return nil
}

// fromQueueAgain passes the same messages again: SQS delivers at least once.
func (j *jobs) fromQueueAgain(ctx context.Context) error {
	if err := j.sendBatch(ctx, j.orders); err != nil {
		return err
	}
	for _, name := range []string{readyQueue, deadQueue} {
		if _, err := j.receive(name, 0); err != nil {
			return err
		}
	}
	return nil
}

func (j *jobs) fromBus(ctx context.Context) error {
	text, err := json.Marshal(map[string]any{
		"version": "0", "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718", "detail-type": "TokenRequested", "source": "nightly.jobs", "account": account,
		"time": time.Now().UTC().Format(time.RFC3339), "region": region, "resources": []string{}, "detail": map[string]string{"client": j.row.client},
	})
	if err != nil {
		return err
	}
	if _, err := j.invoke(ctx, busAlias, string(text)); err != nil {
		return err
	}
	_, err = j.announced(1)
	return err
}

func (j *jobs) direct(ctx context.Context) error {
	answer, err := j.invoke(ctx, directAlias, `{"requests":[{"client":"`+j.row.client+`"},{"client":"unknown-client"}]}`)
	if err != nil {
		return err
	}
	var list struct {
		Responses []struct{ Claim, Error string }
	}
	if err := json.Unmarshal(answer, &list); err != nil || len(list.Responses) != 2 || list.Responses[0].Claim == "" || list.Responses[1].Error != "access_denied" {
		return errors.New("the answer does not have a claim and access_denied")
	}
	return nil
}

func (j *jobs) redeem(ctx context.Context) error {
	claim := map[string]any{"claim": j.claim}
	got, err := j.env.direct(ctx, j.row.client, claim)
	if err != nil {
		return err
	}
	j.addSecret(got.Token)
	if got.Token == "" || got.ExpiresIn < 60 {
		return fmt.Errorf("got no token that lives for 60 seconds; error: %s", orNone(got.Error))
	}
	other, err := j.env.direct(ctx, "other-"+j.row.client, claim)
	if err == nil && other.Error != "access_denied" {
		err = errors.New("another client's claim was redeemed")
	}
	return err
}

func (j *jobs) deliver(ctx context.Context) error {
	in := map[string]any{"Name": j.secret, "Tags": []any{map[string]string{"Key": "token-vendor-managed", "Value": "true"}}}
	if err := call(j.external.url, "secretsmanager.CreateSecret", in, nil); err != nil {
		return err
	}
	return j.schedule(ctx)
}

// schedule has a token delivered. Afterwards the secret must have one version.
func (j *jobs) schedule(ctx context.Context) error {
	if _, err := j.invoke(ctx, scheduleAlias, `{"id":"`+rand.Text()+`","schedule":[{"client":"`+j.row.client+`","deliver_to":"`+j.secret+`"}]}`); err != nil {
		return err
	}
	var secret struct{ SecretString string }
	if err := call(j.external.url, "secretsmanager.GetSecretValue", map[string]string{"SecretId": j.secret}, &secret); err != nil {
		return err
	}
	var token struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(secret.SecretString), &token); err != nil || token.Token == "" {
		return errors.New("the secret has no token")
	}
	j.addSecret(token.Token)
	var versions struct {
		VersionIDsToStages map[string][]string `json:"VersionIdsToStages"`
	}
	if err := call(j.external.url, "secretsmanager.DescribeSecret", map[string]string{"SecretId": j.secret}, &versions); err != nil {
		return err
	}
	if len(versions.VersionIDsToStages) != 1 {
		return fmt.Errorf("the secret has %d versions, want 1", len(versions.VersionIDsToStages))
	}
	return nil
}

// printJobs prints all results and returns how many jobs failed.
func printJobs(out io.Writer, server string, all []job) (bad int) {
	if len(all) == 0 {
		return 0
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "server\tjobs\t")
	for _, d := range all {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", server, d.what, verdict(d.problem, &bad))
	}
	_ = w.Flush()
	_, _ = fmt.Fprintf(out, "\n%d jobs, %d failed\n\n", len(all), bad)
	return bad
}
