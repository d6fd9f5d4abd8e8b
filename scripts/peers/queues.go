package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"tokenvendor/scripts/local/runtimeapi"
)

// message is a message of SQS.
type message struct {
	MessageID         string `json:"MessageId"`
	ReceiptHandle     string
	Body              string
	Attributes        map[string]string
	MessageAttributes map[string]struct{ StringValue string }
}

// receive waits for n messages of a queue, and a moment for more. It does not count a
// message that was received before: queues and buses deliver at least once, and a sender
// without an answer sends again. A repeated message must have the same content.
func (j *jobs) receive(name string, n int) (all []message, err error) {
	in := map[string]any{"QueueUrl": j.queue[name], "MaxNumberOfMessages": 10, "AttributeNames": []string{"All"}, "MessageAttributeNames": []string{"All"}}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		var got struct{ Messages []message }
		if err := call(j.external.url, "AmazonSQS.ReceiveMessage", in, &got); err != nil {
			return nil, err
		}
		for _, m := range got.Messages {
			id, content := m.content()
			before, again := j.seen[name+" "+id]
			if again && before != content {
				return nil, fmt.Errorf("%s: a repeated message has other content", name)
			}
			if j.seen[name+" "+id] = content; !again {
				all = append(all, m)
			}
		}
		if len(got.Messages) == 0 && len(all) >= n || len(all) > n || time.Now().After(end) {
			break
		}
	}
	if len(all) != n {
		return nil, fmt.Errorf("%s: got %d messages, want %d", name, len(all), n)
	}
	return all, nil
}

// content returns the id of the order or event that a message is about, and its content.
func (m *message) content() (id, content string) {
	var event struct{ Detail announcement }
	if json.Unmarshal([]byte(m.Body), &event) == nil && event.Detail.ID != "" {
		return event.Detail.ID, event.Detail.Claim
	}
	if order := m.MessageAttributes["message_id"].StringValue; order != "" {
		return order, m.MessageAttributes["error"].StringValue
	}
	return m.MessageID, m.Body
}

// sendBatch passes messages to the function, which must finish all of them.
func (j *jobs) sendBatch(ctx context.Context, messages []message) error {
	records := make([]map[string]any, 0, len(messages))
	for _, m := range messages {
		records = append(records, map[string]any{
			"messageId": m.MessageID, "receiptHandle": m.ReceiptHandle, "body": m.Body, "attributes": m.Attributes, "messageAttributes": map[string]any{},
			"eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:" + region + ":" + account + ":" + ordersQueue, "awsRegion": region,
		})
	}
	text, err := json.Marshal(map[string]any{"Records": records})
	if err != nil {
		return err
	}
	answer, err := j.invoke(ctx, queueAlias, string(text))
	if err != nil {
		return err
	}
	if got := strings.ReplaceAll(string(answer), " ", ""); got != `{"batchItemFailures":[]}` {
		return fmt.Errorf("got %s, want no batchItemFailures", got)
	}
	return nil
}

// announcement is the detail of the event TokenReady.
type announcement struct{ ID, Client, Claim string }

// announced waits for n announcements of the client.
func (j *jobs) announced(n int) (all []announcement, err error) {
	messages, err := j.receive(readyQueue, n)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		var event struct{ Detail announcement }
		if err := json.Unmarshal([]byte(m.Body), &event); err != nil || event.Detail.Client != j.row.client || event.Detail.Claim == "" {
			return nil, errors.New("an event without a claim, or of another client")
		}
		all = append(all, event.Detail)
	}
	return all, nil
}

func (j *jobs) invoke(ctx context.Context, alias, event string) ([]byte, error) {
	result, err := j.batch.Invoke(ctx, runtimeapi.Invocation{Payload: []byte(event), Qualifier: alias})
	if err != nil {
		return nil, err
	}
	if result.FunctionError != "" {
		var failure struct{ ErrorType string }
		_ = json.Unmarshal(result.Payload, &failure) // an empty type is not one of the function's
		return nil, fmt.Errorf("the batch function failed: %s", orNone(failure.ErrorType))
	}
	return result.Payload, nil
}
