package sqs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	local "tokenvendor/scripts/local/sqs"
)

// newServer returns a server with the queues "orders" and "dead".
func newServer() *local.Server {
	s := local.New(local.Config{Region: "eu-central-1", Account: "123456789012"})
	s.AddQueue("dead", local.Queue{})
	s.AddQueue("orders", local.Queue{Visibility: time.Minute, DeadLetter: "dead", MaxReceives: 3})
	return s
}

// newClient returns the SDK's client of a server, and the URL of the queue "orders".
func newClient(t *testing.T) (client *sqs.Client, server *local.Server, orders *string) {
	t.Helper()
	server = newServer()
	endpoint := httptest.NewServer(server)
	t.Cleanup(endpoint.Close)
	credentials := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "x"}, nil
	})
	client = sqs.New(sqs.Options{Region: "eu-central-1", BaseEndpoint: &endpoint.URL, Credentials: credentials, RetryMaxAttempts: 1})
	return client, server, aws.String(endpoint.URL + "/123456789012/orders")
}

func codeOf(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return ""
	}
	return api.ErrorCode()
}

// TestSDKReceivesWhatItSent: the SDK compares each digest with its own.
func TestSDKReceivesWhatItSent(t *testing.T) {
	client, server, orders := newClient(t)
	const body = "ü <&> \n"
	value := func(text string) types.MessageAttributeValue {
		return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String(text)}
	}
	sent, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{
		QueueUrl: orders, MessageBody: aws.String(body), MessageAttributes: map[string]types.MessageAttributeValue{"a": value("x"), "b": value("ü")},
	})
	if err != nil {
		t.Fatal(err)
	}
	in := &sqs.ReceiveMessageInput{QueueUrl: orders, MaxNumberOfMessages: 10, MessageAttributeNames: []string{"All"}}
	got, err := client.ReceiveMessage(t.Context(), in)
	if err != nil || len(got.Messages) != 1 {
		t.Fatalf("received %+v, %v", got, err)
	}
	if m := got.Messages[0]; *m.MessageId != *sent.MessageId || *m.Body != body || len(m.MessageAttributes) != 2 || aws.ToString(m.ReceiptHandle) == "" {
		t.Errorf("received %+v", m)
	}
	if again, err := client.ReceiveMessage(t.Context(), in); err != nil || len(again.Messages) != 0 {
		t.Errorf("received %+v, %v, want nothing: the message is hidden", again, err)
	}
	server.Send("orders", "x", map[string]string{"a": "x", "b": "y"})
	for _, want := range []int{0, 1} {
		in := &sqs.ReceiveMessageInput{QueueUrl: orders, MessageAttributeNames: []string{"none", "a"}[want : want+1]}
		if got, err := client.ReceiveMessage(t.Context(), in); err != nil || len(got.Messages) != 1-want || want == 0 && len(got.Messages[0].MessageAttributes) != 0 {
			t.Errorf("received %+v, %v", got, err)
		}
	}
}

func TestRefusesWhatSQSRefuses(t *testing.T) {
	client, _, orders := newClient(t)
	value := types.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String("x")}
	eleven := make(map[string]types.MessageAttributeValue)
	for i := range 11 {
		eleven[fmt.Sprint("a", i)] = value
	}
	empty := map[string]types.MessageAttributeValue{"a": {DataType: aws.String("String"), StringValue: aws.String("")}}
	for name, test := range map[string]struct {
		in   sqs.SendMessageInput
		code string
	}{
		"too large":             {sqs.SendMessageInput{MessageBody: aws.String(strings.Repeat("x", 1<<20+1))}, "InvalidParameterValue"},
		"control character":     {sqs.SendMessageInput{MessageBody: aws.String("\x01")}, "InvalidMessageContents"},
		"empty body":            {sqs.SendMessageInput{MessageBody: aws.String("")}, "MissingParameter"},
		"11 attributes":         {sqs.SendMessageInput{MessageBody: aws.String("x"), MessageAttributes: eleven}, "InvalidParameterValue"},
		"empty attribute":       {sqs.SendMessageInput{MessageBody: aws.String("x"), MessageAttributes: empty}, "InvalidParameterValue"},
		"unknown queue":         {sqs.SendMessageInput{MessageBody: aws.String("x"), QueueUrl: aws.String(*orders + "x")}, "QueueDoesNotExist"},
		"unsupported parameter": {sqs.SendMessageInput{MessageBody: aws.String("x"), DelaySeconds: 1}, "UnsupportedOperation"},
	} {
		if test.in.QueueUrl == nil {
			test.in.QueueUrl = orders
		}
		if _, err := client.SendMessage(t.Context(), &test.in); codeOf(err) != test.code {
			t.Errorf("%s: got %v, want %s", name, err, test.code)
		}
	}
	for _, in := range []sqs.ReceiveMessageInput{{MaxNumberOfMessages: 11}, {WaitTimeSeconds: 21}} {
		in.QueueUrl = orders
		if _, err := client.ReceiveMessage(t.Context(), &in); codeOf(err) != "InvalidParameterValue" {
			t.Errorf("got %v, want InvalidParameterValue", err)
		}
	}
}

type received struct{ MessageID, Body string }

// receive receives up to ten messages without a network, so that it can run in a bubble
// of testing/synctest.
func receive(t *testing.T, s *local.Server, queue string, seconds int) []received {
	t.Helper()
	body := fmt.Sprintf(`{"QueueUrl":"http://localhost/123456789012/%s","MaxNumberOfMessages":10,"WaitTimeSeconds":%d}`, queue, seconds)
	r := httptest.NewRequest("POST", "http://localhost/", strings.NewReader(body))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 x")
	r.Header.Set("X-Amz-Target", "AmazonSQS.ReceiveMessage")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	var out struct{ Messages []received }
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != 200 {
		t.Fatalf("status %d, %s", w.Code, w.Body)
	}
	return out.Messages
}

func TestUndeletedMessageMovesToDeadLetterQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		id := s.Send("orders", "poison", map[string]string{"a": "b"})
		for range 3 {
			if got := receive(t, s, "orders", 0); len(got) != 1 {
				t.Fatalf("received %v, want one message", got)
			}
			time.Sleep(time.Minute)
		}
		if got := receive(t, s, "orders", 0); len(got) != 0 {
			t.Errorf("received %v a fourth time", got)
		}
		dead := receive(t, s, "dead", 0)
		if len(dead) != 1 || dead[0].MessageID != id || s.Messages("dead")[0].Attributes["a"].StringValue != "b" || len(s.Messages("orders")) != 0 {
			t.Errorf("the dead-letter queue has %v, want the message with its id and attributes", dead)
		}
	})
}

func TestReceiveWaitsForMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		start := time.Now()
		if got := receive(t, s, "orders", 20); len(got) != 0 || time.Since(start) != 20*time.Second {
			t.Errorf("received %v after %v, want nothing after 20s", got, time.Since(start))
		}
		start = time.Now()
		time.AfterFunc(7*time.Second, func() { s.Send("orders", "late", nil) })
		if got := receive(t, s, "orders", 20); len(got) != 1 || time.Since(start) != 7*time.Second {
			t.Errorf("received %v after %v, want one message after 7s", got, time.Since(start))
		}
		start = time.Now()
		if got := receive(t, s, "orders", 20); len(got) != 0 {
			t.Errorf("received %v, want nothing while the message is hidden", got)
		}
		time.Sleep(30 * time.Second)
		if got := receive(t, s, "orders", 20); len(got) != 1 || time.Since(start).Round(time.Second) != time.Minute {
			t.Errorf("received %v after %v, want the message when it is visible again", got, time.Since(start))
		}
	})
}

// deliver runs the mapping until the queue is empty, and returns the ids of each batch.
func deliver(t *testing.T, s *local.Server, function func(ids []string) (answer string, failed bool)) (batches [][]string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	m := local.Mapping{Server: s, Queue: "orders", Invoke: func(_ context.Context, text []byte) ([]byte, bool) {
		mu.Lock()
		defer mu.Unlock()
		var event struct{ Records []struct{ MessageID string } }
		if err := json.Unmarshal(text, &event); err != nil {
			t.Error(err)
		}
		var ids []string
		for _, record := range event.Records {
			ids = append(ids, record.MessageID)
		}
		batches = append(batches, ids)
		answer, failed := function(ids)
		return []byte(answer), failed
	}}
	ended := make(chan struct{})
	go func() { defer close(ended); m.Run(ctx) }()
	for deadline := time.Now().Add(time.Hour); len(s.Messages("orders")) > 0; time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			t.Fatal("the queue is not empty")
		}
	}
	cancel()
	<-ended
	return batches
}

// TestMappingRepeatsReportedFailures: an answer that Lambda cannot read means that all
// messages of the batch failed.
func TestMappingRepeatsReportedFailures(t *testing.T) {
	const all = -1
	for name, tt := range map[string]struct {
		answer   string // %s is the first id
		failed   bool
		repeated int
	}{
		"no answer":      {"", false, 0},
		"null":           {"null", false, 0},
		"no failure":     {`{"batchItemFailures":[]}`, false, 0},
		"one failure":    {`{"batchItemFailures":[{"itemIdentifier":"%s"}]}`, false, 1},
		"unknown id":     {`{"batchItemFailures":[{"itemIdentifier":"x"}]}`, false, all},
		"no id":          {`{"batchItemFailures":[{}]}`, false, all},
		"not JSON":       {`{`, false, all},
		"function error": {``, true, all},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer()
				for range 5 {
					s.Send("orders", "x", nil)
				}
				calls := 0
				batches := deliver(t, s, func(ids []string) (string, bool) {
					if calls++; calls > 1 {
						return "", false
					}
					return strings.Replace(tt.answer, "%s", ids[0], 1), tt.failed
				})
				repeated := batches[0]
				if tt.repeated != all {
					repeated = repeated[:tt.repeated]
				}
				got := slices.Concat(batches...)[5:]
				if !slices.Equal(got, repeated) || len(s.Messages("dead")) != 0 {
					t.Errorf("repeated %v of %v, want %v", got, batches, repeated)
				}
			})
		})
	}
}

func TestPoisonMessageDoesNotStopOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		poison := s.Send("orders", "poison", nil)
		for range 100 {
			s.Send("orders", "x", nil)
		}
		deliver(t, s, func(ids []string) (string, bool) {
			if slices.Contains(ids, poison) {
				return `{"batchItemFailures":[{"itemIdentifier":"` + poison + `"}]}`, false
			}
			return "", false
		})
		if dead := s.Messages("dead"); len(dead) != 1 || dead[0].ID != poison {
			t.Errorf("the dead-letter queue has %+v, want the poison message alone", dead)
		}
	})
}
