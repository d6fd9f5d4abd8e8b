// Package deadletter reads the dead-letter queue of the batch function, and puts orders back into
// the queue that they came from.
//
// Three senders use the queue: the function and SQS for orders of the queue, AWS Lambda for
// asynchronous invokes, and EventBridge for events that its rule could not deliver. The attributes
// of a message tell which one it was.
package deadletter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"tokenvendor/shared/client"
)

// Source is who sent a message.
type Source string

// The sources. Only an order can be put back.
const (
	Order  Source = "queue"
	Invoke Source = "invoke"
	Rule   Source = "rule"
	Other  Source = "other"
)

const (
	// hidden is how long other readers do not see a message that is being read. It is longer than
	// reading takes, and ends what an interrupted command leaves behind.
	hidden = 5 * time.Minute
	// wait lets SQS ask all of its servers, so that no answer means no message.
	wait = time.Second
	// batchSize is the largest number of messages in a request.
	batchSize = 10
	// callMargin is what must be left of hidden to put an order back.
	callMargin = time.Minute
	// callTimeout is for the calls that an interrupt must not stop halfway.
	callTimeout = 10 * time.Second
)

// Queue is a dead-letter queue. It needs the permissions sqs:ReceiveMessage,
// sqs:ChangeMessageVisibility and sqs:DeleteMessage for it, and sqs:SendMessage for Orders.
type Queue struct {
	API *sqs.Client
	// URL is that of the queue, Orders that of the queue of orders; empty: there is none.
	URL, Orders string
	// Warn is called if messages stay hidden after the loop over [Queue.Messages]; nil: nothing is.
	Warn func(error)

	// done are the ids that orders had which were put back: the function may have put one here
	// twice.
	done map[string]bool
	// sent are the ids of the orders that were put back. One that fails again must not be put
	// back again, and so on for ever.
	sent map[string]bool
}

// Message is a message of the queue. Its exported fields hold nothing of the body but the name of
// a client.
type Message struct {
	// ID is that of the message, OrderID the one that the order had in its own queue.
	ID, OrderID string
	Sent        time.Time
	Source      Source
	// Client is empty if the body names none.
	Client string
	// Error and Description are the reason that the function gave; empty: there is none.
	Error, Description string
	// Left says why the message cannot be put back; empty: it can.
	Left string

	body, handle string
	received     time.Time
	attributes   map[string]types.MessageAttributeValue
	gone         bool
}

// Messages returns each message once. A message that is not put back is visible to other readers
// again when the loop ends. After an error there are no more messages.
func (q *Queue) Messages(ctx context.Context) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		taken := make(map[string]string) // the handles by id
		defer func() { q.release(ctx, slices.Collect(maps.Values(taken))) }()
		for begun := time.Now(); ; {
			batch, err := q.receive(ctx)
			if err != nil {
				yield(nil, err)
				return
			}
			if len(batch) == 0 {
				return
			}
			batch = slices.DeleteFunc(batch, func(m *Message) bool {
				_, again := taken[m.ID]
				taken[m.ID] = m.handle
				return again
			})
			if len(batch) == 0 && time.Since(begun.Round(0)) > hidden {
				yield(nil, fmt.Errorf("not all messages were read: %d took more than %v, after which the first ones are visible again", len(taken), hidden))
				return
			}
			for _, m := range batch {
				more := yield(m, nil)
				if m.gone {
					delete(taken, m.ID)
				}
				if !more {
					return
				}
			}
		}
	}
}

// receive returns the next messages; none: there are no more.
func (q *Queue) receive(ctx context.Context) ([]*Message, error) {
	got, err := q.API.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: &q.URL, MaxNumberOfMessages: batchSize, VisibilityTimeout: int32(hidden / time.Second), WaitTimeSeconds: int32(wait / time.Second),
		MessageAttributeNames: []string{"All"}, MessageSystemAttributeNames: []types.MessageSystemAttributeName{
			types.MessageSystemAttributeNameSentTimestamp, types.MessageSystemAttributeNameDeadLetterQueueSourceArn,
		},
	}, retryIfAnswered)
	switch {
	case err != nil && answered(err):
		return nil, problem("the dead-letter queue", err)
	case err != nil:
		text := problem("the dead-letter queue", err).Error() + "; if only an answer was lost, up to %d messages are hidden for %v"
		if ctx.Err() != nil {
			text = "up to %d messages may be hidden for %v"
		}
		return nil, &StateError{fmt.Sprintf(text, batchSize, hidden)}
	}
	var batch []*Message
	for _, m := range got.Messages {
		batch = append(batch, q.read(m))
	}
	return batch, nil
}

// retryIfAnswered makes the SDK repeat a call only if SQS has answered with an error. The SDK also
// repeats a call whose answer was lost: the messages of that answer would be missing without an
// error, and an order would be sent twice.
func retryIfAnswered(o *sqs.Options) {
	o.Retryer = retry.NewStandard(func(s *retry.StandardOptions) {
		unanswered := retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
			if answered(err) {
				return aws.UnknownTernary // the standard rules decide
			}
			return aws.FalseTernary
		})
		s.Retryables = append([]retry.IsErrorRetryable{unanswered}, s.Retryables...)
	})
}

// answered reports whether SQS has answered with an error.
func answered(err error) bool {
	var failure smithy.APIError
	return errors.As(err, &failure)
}

// read returns what a message of SQS is.
func (q *Queue) read(in types.Message) *Message {
	m := &Message{
		ID: aws.ToString(in.MessageId), OrderID: aws.ToString(in.MessageId), Client: clientOf(aws.ToString(in.Body)),
		body: aws.ToString(in.Body), handle: aws.ToString(in.ReceiptHandle), received: time.Now(),
	}
	if ms, err := strconv.ParseInt(in.Attributes[string(types.MessageSystemAttributeNameSentTimestamp)], 10, 64); err == nil {
		m.Sent = time.UnixMilli(ms).UTC()
	}
	value := func(name string) string { return aws.ToString(in.MessageAttributes[name].StringValue) }
	from := in.Attributes[string(types.MessageSystemAttributeNameDeadLetterQueueSourceArn)]
	orders := q.Orders[strings.LastIndexByte(q.Orders, '/')+1:]
	switch {
	case from != "" && orders != "" && strings.HasSuffix(from, ":"+orders):
		// SQS gave up: the function could not say why, and the attributes are the sender's.
		m.Source, m.attributes = Order, in.MessageAttributes
	case from == "" && value("error") != "" && value("message_id") != "":
		m.Source, m.OrderID, m.Error, m.Description = Order, value("message_id"), value("error"), value("error_description")
	case from == "" && value("RULE_ARN") != "":
		m.Source, m.Left = Rule, "a rule of EventBridge could not deliver it: it is no order of the queue"
		m.Error = code(value("ERROR_CODE"))
	case from == "" && value("ErrorCode") != "":
		m.Source, m.Left = Invoke, "it came from the bus, a schedule or an asynchronous invoke: it is no order of the queue"
	default:
		m.Source, m.Left = Other, "nothing shows that it is an order of the queue"
	}
	switch {
	case m.Source != Order:
	case value("body_bytes") != "":
		m.Left = "it was too large to be kept whole, and is no order"
	case q.sent[m.OrderID]:
		m.Left = "it was put back a moment ago, and has failed again"
	}
	return m
}

// code returns an error code of EventBridge, such as NO_PERMISSIONS; empty: the text is none.
func code(text string) string {
	if len(text) > 64 || strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != "" {
		return ""
	}
	return text
}

// clientOf returns the name of the client that an order is for; empty: it names none.
func clientOf(body string) string {
	var order struct {
		Client string `json:"client"`
	}
	if json.Unmarshal([]byte(body), &order) != nil || !client.ValidName(order.Client) {
		return ""
	}
	return order.Client
}

// Redrive puts an order back into its queue, and then deletes the message. The order must be from
// the loop over [Queue.Messages] that is running. An interrupt does not separate the two calls. The error
// is a [*RefusedError] if SQS has refused this order alone. sent reports whether the order is in its
// queue, also if the message could not be deleted.
func (q *Queue) Redrive(ctx context.Context, m *Message) (sent bool, err error) {
	switch {
	case m.Left != "":
		return false, errors.New("message " + m.ID + ": " + m.Left)
	case q.Orders == "":
		return false, errors.New("there is no queue of orders")
	case ctx.Err() != nil:
		return false, ctx.Err()
	case time.Since(m.received.Round(0)) > hidden-callMargin:
		return false, errors.New("message " + m.ID + " was read minutes ago, and another reader may have it: run the command again")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	if q.done[m.OrderID] {
		return true, q.remove(ctx, m)
	}
	out, err := q.API.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &q.Orders, MessageBody: &m.body, MessageAttributes: m.attributes}, retryIfAnswered)
	switch {
	case err != nil && !answered(err):
		return false, &StateError{problem("message "+m.ID+" is still in the dead-letter queue, and its order may be in the queue of orders as well: find that out before you put it back again: the queue of orders", err).Error()}
	case err != nil:
		return false, problemOf(m, "message "+m.ID+" is still in the dead-letter queue: the queue of orders", err)
	}
	if q.sent == nil {
		q.sent, q.done = make(map[string]bool), make(map[string]bool)
	}
	q.sent[aws.ToString(out.MessageId)], q.done[m.OrderID] = true, true
	return true, q.remove(ctx, m)
}

// remove deletes a message whose order was put back.
func (q *Queue) remove(ctx context.Context, m *Message) error {
	// If the call fails, the message stays hidden for its time, so that no other reader puts it back at
	// once.
	m.gone = true
	if _, err := q.API.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &q.URL, ReceiptHandle: &m.handle}); err != nil {
		return &StateError{problem("message "+m.ID+" was put back, and is in the dead-letter queue as well: delete it there, or the order is done twice: the dead-letter queue", err).Error()}
	}
	return nil
}

// release makes messages visible again, also after an interrupt, which must not wait for long. If it
// fails, they are visible when their time is over.
func (q *Queue) release(ctx context.Context, handles []string) {
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		defer cancel()
	}
	failed, released := 0, 0
	for batch := range slices.Chunk(handles, batchSize) {
		in := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &q.URL}
		for i := range batch {
			in.Entries = append(in.Entries, types.ChangeMessageVisibilityBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: &batch[i]})
		}
		out, err := q.API.ChangeMessageVisibilityBatch(ctx, in)
		if err != nil {
			failed += len(handles) - released
			break
		}
		released += len(batch)
		for _, entry := range out.Failed {
			// Without the prefix that SQS puts before the codes of its first protocol.
			if !strings.HasSuffix(aws.ToString(entry.Code), "MessageNotInflight") { // it is visible
				failed++
			}
		}
	}
	if failed > 0 && q.Warn != nil {
		q.Warn(fmt.Errorf("%d messages of the dead-letter queue are hidden from all readers for up to %v: they could not be released", failed, hidden))
	}
}

// StateError is the error of messages that are not where they seem to be: they are hidden, or an order
// may be in both queues. It holds after an interrupt, too.
type StateError struct{ text string }

// Error implements error.
func (e *StateError) Error() string { return e.text }

// RefusedError is the error of an order that SQS has refused, such as one that is too large for the
// queue of orders. Other orders may still be put back.
type RefusedError struct{ err error }

// Error implements error.
func (e *RefusedError) Error() string { return e.err.Error() }

// problemOf returns the error of one message.
func problemOf(m *Message, what string, err error) error {
	var failure smithy.APIError
	if errors.As(err, &failure) && slices.Contains([]string{"InvalidMessageContents", "InvalidParameterValue", "InvalidParameterValueException"}, failure.ErrorCode()) {
		return &RefusedError{problem(what, err)}
	}
	return problem(what, err)
}

// problem returns an error without the text of AWS, which may hold ARNs.
func problem(what string, err error) error {
	var failure smithy.APIError
	if errors.As(err, &failure) {
		return fmt.Errorf("%s: SQS answers %s", what, failure.ErrorCode())
	}
	return fmt.Errorf("%s: SQS cannot be asked: check the credentials and the network", what)
}
