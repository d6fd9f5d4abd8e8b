package sqs_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// receiveOne receives one message with the attributes of SQS.
func receiveOne(t *testing.T, client *sqs.Client, queue *string) types.Message {
	t.Helper()
	got, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{
		QueueUrl: queue, VisibilityTimeout: 30, MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	})
	if err != nil || len(got.Messages) != 1 {
		t.Fatalf("received %+v, %v, want one message", got, err)
	}
	return got.Messages[0]
}

func TestDeletedMessageIsGone(t *testing.T) {
	client, server, orders := newClient(t)
	server.Send("orders", "first", nil)
	server.Send("orders", "second", nil)
	first := receiveOne(t, client, orders)
	remove := func(handle *string) error {
		_, err := client.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: orders, ReceiptHandle: handle})
		return err
	}
	for range 2 { // to delete it again is no error
		if err := remove(first.ReceiptHandle); err != nil {
			t.Fatal(err)
		}
	}
	if left := server.Messages("orders"); len(left) != 1 || left[0].ID == *first.MessageId {
		t.Errorf("got %+v, want the other message", left)
	}
	for handle, code := range map[string]string{"x": "ReceiptHandleIsInvalid", "": "MissingParameter"} {
		if err := remove(&handle); codeOf(err) != code {
			t.Errorf("the handle %q: got %v, want %s", handle, err, code)
		}
	}
	if _, err := client.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: aws.String(*orders + "x"), ReceiptHandle: first.ReceiptHandle}); codeOf(err) != "QueueDoesNotExist" {
		t.Errorf("got %v, want QueueDoesNotExist", err)
	}
}

// TestVisibilityEndsEarly: a message that was released has a new handle at the next receive, and the
// old one deletes it no more.
func TestVisibilityEndsEarly(t *testing.T) {
	client, server, orders := newClient(t)
	server.Send("orders", "x", nil)
	first := receiveOne(t, client, orders)
	release := func(entries ...types.ChangeMessageVisibilityBatchRequestEntry) (*sqs.ChangeMessageVisibilityBatchOutput, error) {
		return client.ChangeMessageVisibilityBatch(t.Context(), &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: orders, Entries: entries})
	}
	entry := func(id string, handle *string, seconds int32) types.ChangeMessageVisibilityBatchRequestEntry {
		return types.ChangeMessageVisibilityBatchRequestEntry{Id: &id, ReceiptHandle: handle, VisibilityTimeout: seconds}
	}
	got, err := release(entry("a", first.ReceiptHandle, 0), entry("b", aws.String(strings.Repeat("x", 26)), 0), entry("c", first.ReceiptHandle, 43201), entry("d", aws.String("x"), 0))
	if err != nil || len(got.Successful) != 1 || *got.Successful[0].Id != "a" || len(got.Failed) != 3 || *got.Failed[0].Code != "MessageNotInflight" {
		t.Fatalf("got %+v, %v", got, err)
	}
	second := receiveOne(t, client, orders)
	if *second.MessageId != *first.MessageId || *second.ReceiptHandle == *first.ReceiptHandle {
		t.Errorf("received %+v, want the same message with another handle", second)
	}
	if _, err := client.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: orders, ReceiptHandle: first.ReceiptHandle}); err != nil || len(server.Messages("orders")) != 1 {
		t.Errorf("got %v and %d messages after a delete with the old handle", err, len(server.Messages("orders")))
	}
	eleven := make([]types.ChangeMessageVisibilityBatchRequestEntry, 11)
	for i := range eleven {
		eleven[i] = entry(strconv.Itoa(i), first.ReceiptHandle, 0)
	}
	for code, entries := range map[string][]types.ChangeMessageVisibilityBatchRequestEntry{
		"EmptyBatchRequest": {}, "TooManyEntriesInBatchRequest": eleven, "BatchEntryIdsNotDistinct": {eleven[0], eleven[0]},
	} {
		if _, err := release(entries...); codeOf(err) != code {
			t.Errorf("got %v, want %s", err, code)
		}
	}
}

// TestSystemAttributes: only those that a request names are in the answer, and a message of a
// dead-letter queue names the queue that it was in.
func TestSystemAttributes(t *testing.T) {
	client, server, orders := newClient(t)
	dead := aws.String(strings.TrimSuffix(*orders, "orders") + "dead")
	before := time.Now().Add(-time.Second).UnixMilli()
	server.Send("orders", "x", nil)
	for range 3 {
		m := receiveOne(t, client, orders)
		if sent, err := strconv.ParseInt(m.Attributes["SentTimestamp"], 10, 64); err != nil || sent < before || m.Attributes["DeadLetterQueueSourceArn"] != "" {
			t.Errorf("got the attributes %v", m.Attributes)
		}
		_, err := client.ChangeMessageVisibilityBatch(t.Context(), &sqs.ChangeMessageVisibilityBatchInput{
			QueueUrl: orders, Entries: []types.ChangeMessageVisibilityBatchRequestEntry{{Id: aws.String("a"), ReceiptHandle: m.ReceiptHandle}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if got, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: orders}); err != nil || len(got.Messages) != 0 {
		t.Fatalf("received %+v, %v a fourth time", got, err)
	}
	got, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{
		QueueUrl: dead, MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameDeadLetterQueueSourceArn},
	})
	if err != nil || len(got.Messages) != 1 || len(got.Messages[0].Attributes) != 1 || got.Messages[0].Attributes["DeadLetterQueueSourceArn"] != "arn:aws:sqs:eu-central-1:123456789012:orders" {
		t.Errorf("received %+v, %v, want the source alone", got, err)
	}
}
