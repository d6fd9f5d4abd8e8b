// Package messaging sends messages to Amazon SQS and events to Amazon EventBridge, for the
// batch function. It is separate from awsapi so that the token function does not contain it.
package messaging

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tokenvendor/shared/awsapi"
)

// callTimeout is for one call with its retries.
const callTimeout = 4 * time.Second

// ErrFailed is wrapped by every error. The same call may succeed later, and the failed call
// may have had its effect.
var ErrFailed = errors.New("not accepted")

// Queue sends messages to a queue of SQS. It is safe for concurrent use.
type Queue struct {
	client *sqs.Client
	url    string
}

// NewQueue returns the queue with the given URL.
func NewQueue(cfg aws.Config, url string) *Queue {
	return &Queue{client: sqs.NewFromConfig(cfg), url: url}
}

// Send sends a message with attributes of the type String. Their values must not be empty.
// The error wraps [ErrFailed].
func (q *Queue) Send(ctx context.Context, body string, attributes map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	values := make(map[string]types.MessageAttributeValue, len(attributes))
	for name, value := range attributes {
		values[name] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String(value)}
	}
	_, err := q.client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: &body, MessageAttributes: values})
	if err != nil {
		return fmt.Errorf("sqs: %w (%s)", ErrFailed, awsapi.ErrorCode(err))
	}
	return nil
}

// Bus sends events to an event bus of EventBridge. It is safe for concurrent use.
type Bus struct {
	client *eventbridge.Client
	name   string
}

// NewBus returns the bus of the given name or ARN.
func NewBus(cfg aws.Config, name string) *Bus {
	return &Bus{client: eventbridge.NewFromConfig(cfg), name: name}
}

// Put sends one event; detail is a JSON object. The error wraps [ErrFailed].
func (b *Bus) Put(ctx context.Context, source, detailType string, detail []byte) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := b.client.PutEvents(ctx, &eventbridge.PutEventsInput{Entries: []eventtypes.PutEventsRequestEntry{{
		EventBusName: &b.name, Source: &source, DetailType: &detailType, Detail: aws.String(string(detail)),
	}}})
	switch {
	case err != nil:
		return fmt.Errorf("eventbridge: %w (%s)", ErrFailed, awsapi.ErrorCode(err))
	case out.FailedEntryCount > 0 || len(out.Entries) != 1:
		// The entry's error code and message may hold any text.
		return fmt.Errorf("eventbridge: %w", ErrFailed)
	}
	return nil
}
