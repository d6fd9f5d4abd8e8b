package sqs_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	local "tokenvendor/scripts/local/sqs"
)

// ground is one server with the real SDK client. Its clock is the test's.
type ground struct {
	*local.Server
	api *sqs.Client

	mu  sync.Mutex
	now time.Time
}

func newGround(t *testing.T) *ground {
	t.Helper()
	g := &ground{now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}
	g.Server = local.New(local.Config{Region: "eu-central-1", Account: "123456789012", Now: func() time.Time {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.now
	}})
	server := httptest.NewServer(g.Server)
	t.Cleanup(server.Close)
	credentials := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "x"}, nil
	})
	g.api = sqs.New(sqs.Options{Region: "eu-central-1", BaseEndpoint: &server.URL, Credentials: credentials, RetryMaxAttempts: 1})
	g.AddQueue("dead", local.Queue{})
	g.AddQueue("orders", local.Queue{Visibility: time.Minute, DeadLetter: "dead", MaxReceives: 3})
	return g
}

func (g *ground) pass(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now = g.now.Add(d)
}

func (g *ground) url(t *testing.T, name string) *string {
	t.Helper()
	out, err := g.api.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: &name})
	if err != nil {
		t.Fatal(err)
	}
	return out.QueueUrl
}

func (g *ground) receive(t *testing.T, name string, n int32) []types.Message {
	t.Helper()
	out, err := g.api.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{
		QueueUrl: g.url(t, name), MaxNumberOfMessages: n, MessageAttributeNames: []string{"All"}, MessageSystemAttributeNames: []types.MessageSystemAttributeName{"All"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Messages
}

func codeOf(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return ""
	}
	return api.ErrorCode()
}

// TestRound: the SDK compares each digest with its own.
func TestRound(t *testing.T) {
	g := newGround(t)
	url := g.url(t, "orders")
	sent, err := g.api.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String("ü <&> \n"), MessageAttributes: map[string]types.MessageAttributeValue{
		"s": {DataType: aws.String("String"), StringValue: aws.String("x")}, "n": {DataType: aws.String("Number.int"), StringValue: aws.String("7")},
		"b": {DataType: aws.String("Binary"), BinaryValue: []byte{0, 1, 2}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	got := g.receive(t, "orders", 10)
	if len(got) != 1 || *got[0].MessageId != *sent.MessageId || *got[0].Body != "ü <&> \n" || len(got[0].MessageAttributes) != 3 || got[0].Attributes["ApproximateReceiveCount"] != "1" {
		t.Fatalf("received %+v", got)
	}
	if again := g.receive(t, "orders", 10); len(again) != 0 {
		t.Error("received what is hidden")
	}
	attributes, err := g.api.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: url, AttributeNames: []types.QueueAttributeName{"All"}})
	if err != nil || attributes.Attributes["ApproximateNumberOfMessagesNotVisible"] != "1" || !strings.Contains(attributes.Attributes["RedrivePolicy"], ":dead") {
		t.Errorf("%+v, %v", attributes, err)
	}
	if _, err := g.api.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: url, ReceiptHandle: got[0].ReceiptHandle}); err != nil {
		t.Error(err)
	}
	got = g.receive(t, "orders", 1)
	if len(got) != 1 || got[0].Attributes["ApproximateReceiveCount"] != "2" {
		t.Fatalf("received %+v", got)
	}
	for range 2 { // the second finds nothing
		if _, err := g.api.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: got[0].ReceiptHandle}); err != nil {
			t.Error(err)
		}
	}
	if len(g.Messages("orders")) != 0 {
		t.Error("not deleted")
	}
	list, err := g.api.ListQueues(t.Context(), &sqs.ListQueuesInput{})
	if err != nil || len(list.QueueUrls) != 2 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestRefused: what SQS does not take.
func TestRefused(t *testing.T) {
	g := newGround(t)
	url := g.url(t, "orders")
	send := func(in sqs.SendMessageInput) error {
		in.QueueUrl = url
		_, err := g.api.SendMessage(t.Context(), &in)
		return err
	}
	attributes := make(map[string]types.MessageAttributeValue)
	for i := range 11 {
		attributes[fmt.Sprint("a", i)] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String("x")}
	}
	for name, test := range map[string]struct {
		in   sqs.SendMessageInput
		code string
	}{
		"large":           {sqs.SendMessageInput{MessageBody: aws.String(strings.Repeat("x", 1<<20+1))}, "InvalidParameterValue"},
		"control":         {sqs.SendMessageInput{MessageBody: aws.String("\x01")}, "InvalidMessageContents"},
		"empty":           {sqs.SendMessageInput{MessageBody: aws.String("")}, "MissingParameter"},
		"delay":           {sqs.SendMessageInput{MessageBody: aws.String("x"), DelaySeconds: 901}, "InvalidParameterValue"},
		"attributes":      {sqs.SendMessageInput{MessageBody: aws.String("x"), MessageAttributes: attributes}, "InvalidParameterValue"},
		"empty attribute": {sqs.SendMessageInput{MessageBody: aws.String("x"), MessageAttributes: map[string]types.MessageAttributeValue{"a": {DataType: aws.String("String"), StringValue: aws.String("")}}}, "InvalidParameterValue"},
	} {
		if err := send(test.in); codeOf(err) != test.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := g.api.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("none")}); codeOf(err) != "QueueDoesNotExist" {
		t.Error(err)
	}
	out, err := g.api.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: url, Entries: []types.SendMessageBatchRequestEntry{
		{Id: aws.String("1"), MessageBody: aws.String("good")}, {Id: aws.String("2"), MessageBody: aws.String("\x01")},
	}})
	if err != nil || len(out.Successful) != 1 || len(out.Failed) != 1 || *out.Failed[0].Id != "2" {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestRedrive: a message that nobody deletes ends in the dead-letter queue, with its id.
func TestRedrive(t *testing.T) {
	g := newGround(t)
	id := g.Send("orders", "poison", map[string]string{"a": "b"})
	for range 3 {
		if got := g.receive(t, "orders", 10); len(got) != 1 {
			t.Fatalf("received %d", len(got))
		}
		g.pass(time.Minute)
	}
	if got := g.receive(t, "orders", 10); len(got) != 0 {
		t.Error("received a fourth time")
	}
	dead := g.receive(t, "dead", 10)
	if len(dead) != 1 || *dead[0].MessageId != id || *dead[0].MessageAttributes["a"].StringValue != "b" || len(g.Messages("orders")) != 0 {
		t.Errorf("in the dead-letter queue: %+v", dead)
	}
}

// TestLongPoll: a receive that waits gets what is sent meanwhile.
func TestLongPoll(t *testing.T) {
	g := newGround(t)
	url := g.url(t, "orders")
	begun := time.Now()
	go func() {
		time.Sleep(50 * time.Millisecond)
		g.Send("orders", "late", nil)
	}()
	out, err := g.api.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: url, WaitTimeSeconds: 20})
	if err != nil || len(out.Messages) != 1 || time.Since(begun) > 10*time.Second {
		t.Errorf("%+v, %v", out, err)
	}
}

// mapped runs the mapping with function until the queue is empty, and returns the
// batches that it was invoked with.
func (g *ground) mapped(t *testing.T, function func(ids []string) (answer string, failed bool)) (batches [][]string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	m := local.Mapping{Server: g.Server, Queue: "orders", Invoke: func(_ context.Context, event []byte) ([]byte, bool) {
		mu.Lock()
		defer mu.Unlock()
		var ids []string
		for part := range strings.SplitSeq(string(event), `"messageId":"`) {
			if id, _, ok := strings.Cut(part, `"`); ok && len(id) == 36 {
				ids = append(ids, id)
			}
		}
		batches = append(batches, ids)
		answer, failed := function(ids)
		return []byte(answer), failed
	}}
	ended := make(chan struct{})
	go func() { defer close(ended); m.Run(ctx) }()
	for deadline := time.Now().Add(20 * time.Second); len(g.Messages("orders")) > 0; {
		if time.Now().After(deadline) {
			t.Fatal("the queue is not empty")
		}
		time.Sleep(5 * time.Millisecond)
		g.pass(10 * time.Second)
	}
	cancel()
	<-ended
	return batches
}

// TestMapping: what is said to have failed comes again, and nothing else; an answer that
// cannot be understood means that all has failed.
func TestMapping(t *testing.T) {
	for name, answer := range map[string]func(ids []string) (string, bool){
		"nothing": func([]string) (string, bool) { return "", false },
		"null":    func([]string) (string, bool) { return "null", false },
		"empty":   func([]string) (string, bool) { return `{"batchItemFailures":[]}`, false },
		"one failed": func(ids []string) (string, bool) {
			return `{"batchItemFailures":[{"itemIdentifier":"` + ids[0] + `"}]}`, false
		},
		"unknown": func([]string) (string, bool) { return `{"batchItemFailures":[{"itemIdentifier":"x"}]}`, false },
		"no id":   func([]string) (string, bool) { return `{"batchItemFailures":[{}]}`, false },
		"no JSON": func([]string) (string, bool) { return `{`, false },
		"error":   func([]string) (string, bool) { return ``, true },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGround(t)
			for range 5 {
				g.Send("orders", "x", nil)
			}
			first := true
			var failed string
			batches := g.mapped(t, func(ids []string) (string, bool) {
				if !first {
					return "", false
				}
				first, failed = false, ids[0]
				return answer(ids)
			})
			seen := slices.Concat(batches...)
			want := map[string]int{"nothing": 5, "null": 5, "empty": 5, "one failed": 6}[name]
			if want == 0 {
				want = 5 + len(batches[0])
			}
			if len(seen) != want || name == "one failed" && seen[len(seen)-1] != failed && !slices.Contains(seen[len(batches[0]):], failed) {
				t.Errorf("%d messages in %d events, want %d", len(seen), len(batches), want)
			}
			if len(g.Messages("dead")) != 0 {
				t.Error("one is in the dead-letter queue")
			}
		})
	}
}

// TestPoison: one that always fails leaves the others alone.
func TestPoison(t *testing.T) {
	g := newGround(t)
	poison := g.Send("orders", "poison", nil)
	for range 100 {
		g.Send("orders", "x", nil)
	}
	g.mapped(t, func(ids []string) (string, bool) {
		if slices.Contains(ids, poison) {
			return `{"batchItemFailures":[{"itemIdentifier":"` + poison + `"}]}`, false
		}
		return "", false
	})
	if dead := g.Messages("dead"); len(dead) != 1 || dead[0].ID != poison {
		t.Errorf("in the dead-letter queue: %+v", dead)
	}
}
