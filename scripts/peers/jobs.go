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
	// directAlias is for who gets claims, sourcesAlias for queue, bus and schedule.
	directAlias, sourcesAlias = "jobs", "sources"
	// deliveryPrefix is below what the function may write.
	deliveryPrefix = "token-vendor/tokens/"
)

// jobs is the batch function between queues, a bus and secrets of somebody else's.
type jobs struct {
	*ground
	cloud theirs
	batch *runtimeapi.Runtime
	queue map[string]string // URLs by name
	row   row
	// orders are the messages that were sent; seen is what came of messages, by queue and id.
	orders []message
	seen   map[string]string
	claim  string // of the first token that was announced
	secret string // that a token is delivered to
}

// job is one thing that the batch function is asked for, and what came of it.
type job struct{ what, problem string }

// workers are the client that all jobs are for, and another; none without a function for
// jobs, or if the server takes no secrets.
func (g *ground) workers(p *peer, binary string) []row {
	if binary == "" || !slices.Contains(p.Methods, p.secretMethod()) {
		return nil
	}
	return []row{g.secretRow("jobs", p.secretMethod(), "secret"), g.secretRow("other-jobs", p.secretMethod(), "secret")}
}

// work stores the documents of workers and does all jobs.
func (g *ground) work(ctx context.Context, s *server, binary string, workers []row) ([]job, error) {
	for _, r := range workers {
		if err := g.store(s, r); err != nil {
			return nil, err
		}
	}
	j, err := g.startJobs(binary, workers[0])
	if err != nil {
		return nil, err
	}
	return j.do(ctx), j.batch.Close()
}

// cost judges what all jobs together cost the server: one exchange, or two where the
// table answers so late that each function is on its own.
func cost(t tally) job {
	d := job{what: fmt.Sprintf("all of them together: %d token requests, %d failed logons, %d exchanges", t.requests, t.failedLogons, t.granted)}
	if t.granted < 1 || t.granted > 2 || t.requests != t.granted || t.failedLogons > 0 {
		d.problem = "one exchange must do"
	}
	return d
}

// startJobs makes the queues and the bus and starts the function before them. r is the
// client that all jobs are for.
func (g *ground) startJobs(binary string, r row) (*jobs, error) {
	cloud, ok := g.aws.(theirs)
	if !ok {
		return nil, errors.New("jobs are for somebody else's AWS; the tests of the local stack have its own")
	}
	j := &jobs{ground: g, cloud: cloud, queue: make(map[string]string), row: r, seen: make(map[string]string), secret: deliveryPrefix + strings.ToLower(rand.Text())}
	for _, name := range []string{ordersQueue, deadQueue, readyQueue} {
		var made struct {
			QueueURL string `json:"QueueUrl"`
		}
		if err := call(cloud.url, "AmazonSQS.CreateQueue", map[string]string{"QueueName": name}, &made); err != nil {
			return nil, err
		}
		j.queue[name] = made.QueueURL
		if err := call(cloud.url, "AmazonSQS.PurgeQueue", map[string]string{"QueueUrl": made.QueueURL}, nil); err != nil {
			return nil, err
		}
	}
	// It may be there from another run.
	_ = call(cloud.url, "AWSEvents.CreateEventBus", map[string]string{"Name": jobsBus}, nil)
	ready := "arn:aws:sqs:" + region + ":" + account + ":" + readyQueue
	for _, step := range []struct {
		target string
		in     map[string]any
	}{
		{"AWSEvents.PutRule", map[string]any{"Name": "ready", "EventBusName": jobsBus, "EventPattern": `{"source":["token-vendor"],"detail-type":["TokenReady"]}`}},
		{"AWSEvents.PutTargets", map[string]any{"Rule": "ready", "EventBusName": jobsBus, "Targets": []any{map[string]string{"Id": "1", "Arn": ready}}}},
	} {
		if err := call(cloud.url, step.target, step.in, nil); err != nil {
			return nil, err
		}
	}
	var err error
	j.batch, err = runtimeapi.Start(runtimeapi.Config{
		Binary: binary, FunctionName: "token-vendor-batch", Region: region, Account: account, Alias: directAlias, Timeout: answerTime,
		Stdout: &lines{each: g.audit}, Stderr: io.Discard,
		Env: append(g.environment(), "EVENT_BUS_NAME="+jobsBus, "DEAD_LETTER_QUEUE_URL="+j.queue[deadQueue], "SOURCES_ALIAS="+sourcesAlias,
			"AWS_ENDPOINT_URL_SQS="+cloud.url, "AWS_ENDPOINT_URL_EVENTBRIDGE="+cloud.url),
	})
	if err == nil {
		g.closers = append(g.closers, j.batch.Close)
	}
	return j, err
}

// do asks for everything, in turn; each rests on what was before it.
func (j *jobs) do(ctx context.Context) (done []job) {
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"orders from SQS: a token is announced on EventBridge, what can't be done lies in the dead-letter queue with its reason", j.fromQueue},
		{"the same messages once more: nothing new is announced or put aside", j.fromQueueAgain},
		{"an order from EventBridge: a token is announced", j.fromBus},
		{"a direct invoke: a claim, or an error by name", j.direct},
		{"a claim: redeemed by the token function, for its own client only", j.redeem},
		{"a schedule: a token lies in its secret in Secrets Manager", j.deliver},
		{"the same schedule once more: the secret is left as it is", j.deliverAgain},
	} {
		d := job{what: step.what}
		if err := step.do(ctx); err != nil {
			d.problem = err.Error()
		}
		done = append(done, d)
		if d.problem != "" {
			break
		}
	}
	return done
}

// fromQueue sends messages, and hands them on as Lambda's event source mapping does.
func (j *jobs) fromQueue(ctx context.Context) error {
	for _, body := range []string{`{"client":"` + j.row.client + `","min_ttl":60}`, "rubbish", `{"client":"nobody"}`} {
		if err := call(j.cloud.url, "AmazonSQS.SendMessage", map[string]string{"QueueUrl": j.queue[ordersQueue], "MessageBody": body}, nil); err != nil {
			return err
		}
	}
	var err error
	if j.orders, err = j.receive(ordersQueue, 3); err != nil {
		return err
	}
	if err := j.poll(ctx, j.orders); err != nil {
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
		return fmt.Errorf("the reasons are %q", reasons)
	}
	return nil
}

// fromQueueAgain: SQS delivers at least once.
func (j *jobs) fromQueueAgain(ctx context.Context) error {
	if err := j.poll(ctx, j.orders); err != nil {
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
	if _, err := j.invoke(ctx, sourcesAlias, string(text)); err != nil {
		return err
	}
	_, err = j.announced(1)
	return err
}

func (j *jobs) direct(ctx context.Context) error {
	answer, err := j.invoke(ctx, directAlias, `{"requests":[{"client":"`+j.row.client+`"},{"client":"nobody"}]}`)
	if err != nil {
		return err
	}
	var list struct {
		Responses []struct{ Claim, Error string }
	}
	if err := json.Unmarshal(answer, &list); err != nil || len(list.Responses) != 2 || list.Responses[0].Claim == "" || list.Responses[1].Error != "access_denied" {
		return errors.New("the answer is another")
	}
	return nil
}

func (j *jobs) redeem(ctx context.Context) error {
	claim := map[string]any{"claim": j.claim}
	got, err := j.ground.direct(ctx, j.row.client, claim)
	if err != nil {
		return err
	}
	j.hide(got.Token)
	if got.Token == "" || got.ExpiresIn < 60 {
		return fmt.Errorf("no token that lives: %s", orNone(got.Error))
	}
	other, err := j.ground.direct(ctx, "other-"+j.row.client, claim)
	if err == nil && other.Error != "access_denied" {
		err = errors.New("another client's claim was redeemed")
	}
	return err
}

func (j *jobs) deliver(ctx context.Context) error {
	in := map[string]any{"Name": j.secret, "Tags": []any{map[string]string{"Key": "token-vendor-managed", "Value": "true"}}}
	if err := call(j.cloud.url, "secretsmanager.CreateSecret", in, nil); err != nil {
		return err
	}
	return j.schedule(ctx)
}

func (j *jobs) deliverAgain(ctx context.Context) error { return j.schedule(ctx) }

// schedule has the token delivered; the secret must have been written once.
func (j *jobs) schedule(ctx context.Context) error {
	if _, err := j.invoke(ctx, sourcesAlias, `{"id":"`+rand.Text()+`","schedule":[{"client":"`+j.row.client+`","deliver_to":"`+j.secret+`"}]}`); err != nil {
		return err
	}
	var secret struct{ SecretString string }
	if err := call(j.cloud.url, "secretsmanager.GetSecretValue", map[string]string{"SecretId": j.secret}, &secret); err != nil {
		return err
	}
	var token struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(secret.SecretString), &token); err != nil || token.Token == "" {
		return errors.New("there is no token in the secret")
	}
	j.hide(token.Token)
	var versions struct {
		VersionIDsToStages map[string][]string `json:"VersionIdsToStages"`
	}
	if err := call(j.cloud.url, "secretsmanager.DescribeSecret", map[string]string{"SecretId": j.secret}, &versions); err != nil {
		return err
	}
	if len(versions.VersionIDsToStages) != 1 {
		return fmt.Errorf("the secret has %d versions", len(versions.VersionIDsToStages))
	}
	return nil
}

// printJobs prints what came of each, and returns how many are not as they must be.
func printJobs(out io.Writer, server string, all []job) (bad int) {
	if len(all) == 0 {
		return 0
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "server\tjobs\t")
	for _, d := range all {
		verdict := "ok"
		if d.problem != "" {
			verdict = "NOT OK: " + d.problem
			bad++
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", server, d.what, verdict)
	}
	_ = w.Flush()
	_, _ = fmt.Fprintf(out, "\n%d kinds of order, %d not as they must be\n\n", len(all), bad)
	return bad
}
