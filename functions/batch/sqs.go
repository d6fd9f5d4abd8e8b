package main

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/invocation"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/strictjson"
	"tokenvendor/shared/token"
)

// record is the part of a message in an event of SQS that the function reads.
type record struct {
	MessageID  string `json:"messageId"`
	Body       string `json:"body"`
	Source     string `json:"eventSource"`
	QueueARN   string `json:"eventSourceARN"`
	Attributes struct {
		Receives string `json:"ApproximateReceiveCount"`
		Sent     string `json:"SentTimestamp"`
		Trace    string `json:"AWSTraceHeader"` // the sender's
	} `json:"attributes"`
}

// failures is the answer with ReportBatchItemFailures: Lambda delivers these messages again,
// the others are done.
//
// Source: docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
type failures struct {
	Items []failure `json:"batchItemFailures"`
}

type failure struct {
	ID string `json:"itemIdentifier"`
}

// maxRecords is the largest batch of a queue.
//
// Source: docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
const maxRecords = 10_000

// queueEvent does the messages of an event of SQS.
type queueEvent struct {
	orders
	// dead takes messages that can never be done; nil: they are left to their own queue.
	dead queue
	// maxReceives is how often a message is received before it counts as such.
	maxReceives int
}

// queue takes messages. Attributes must not be empty.
type queue interface {
	Send(ctx context.Context, body string, attributes map[string]string) error
}

// all does each message for itself.
func (q *queueEvent) all(ctx context.Context, raw json.RawMessage) ([]byte, error) {
	list, ok := strictjson.Elements(raw, maxRecords)
	if !ok {
		return nil, q.refuseEvent(ctx, audit.SQS, fault.Invalid("Records is not a list of messages"))
	}
	records := make([]record, len(list))
	for i := range records {
		if json.Unmarshal(list[i], &records[i]) != nil || !validID(records[i].MessageID) {
			// A message without a name cannot be said to have failed.
			return nil, q.refuseEvent(ctx, audit.SQS, fault.Invalid("Records holds a message without a messageId"))
		}
	}
	out := failures{Items: []failure{}}
	for i, err := range invocation.Each(q.log, invocation.RequestID(ctx), len(records), func(i int) error {
		r := &records[i]
		return q.once(ctx, "sqs "+r.MessageID, func(confirm func() bool) error { return q.message(ctx, r, confirm) })
	}) {
		if err != nil {
			out.Items = append(out.Items, failure{records[i].MessageID})
		}
	}
	return encode(out), nil
}

// message announces the token that a message orders, or puts the message into the
// dead-letter queue.
func (q *queueEvent) message(ctx context.Context, r *record, confirm func() bool) error {
	request := q.asked(ctx, audit.SQS, r.MessageID, r.queue())
	if root := invocation.TraceRoot(r.Attributes.Trace); root != "" {
		request.Origin.TraceID = root
	}
	if r.Source != "aws:sqs" {
		return q.refuse(ctx, request, fault.Invalid("eventSource is not aws:sqs"))
	}
	err := q.announce(ctx, func(o *token.Order) error {
		*o.Request, o.ID, o.Time = request, r.MessageID, r.sent()
		return parseOrder(o, []byte(r.Body))
	}, confirm)
	if err == nil || q.dead == nil || !permanent(err) && !q.last(r) {
		return err
	}
	return q.bury(ctx, r, err, confirm)
}

// last reports whether the queue would next move the message to its dead-letter queue, without
// a reason.
func (q *queueEvent) last(r *record) bool {
	n, err := strconv.Atoi(r.Attributes.Receives)
	return err == nil && n >= q.maxReceives
}

// queue returns the name of the message's queue; empty if the ARN is not that of a queue.
func (r *record) queue() string {
	// arn:aws:sqs:region:account:name
	parts := strings.Split(r.QueueARN, ":")
	if len(r.QueueARN) > 256 || len(parts) != 6 || parts[2] != "sqs" || !validID(parts[5]) {
		return ""
	}
	return parts[5]
}

// sent returns when the message was sent; zero: that is not known.
func (r *record) sent() time.Time {
	ms, err := strconv.ParseInt(r.Attributes.Sent, 10, 64)
	if err != nil || ms <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// maxBuried is how much of a message is kept, in bytes: SQS takes 1 MiB, attributes included.
//
// Source: docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
const maxBuried = 1<<20 - 4<<10

// bury puts a message into the dead-letter queue, with the reason. If that fails, the message
// has failed and is delivered again.
func (q *queueEvent) bury(ctx context.Context, r *record, reason error, confirm func() bool) error {
	if !confirm() {
		return errBusy()
	}
	failure := fault.From(reason)
	attributes := map[string]string{
		"error": failure.Kind.Code(), "error_description": oauth.Printable(failure.Description), "message_id": r.MessageID,
	}
	body := r.Body
	if len(body) > maxBuried {
		// There must be room for the reason. A body of that size is no order.
		body, attributes["body_bytes"] = strings.ToValidUTF8(body[:maxBuried], ""), strconv.Itoa(len(body))
	}
	if err := q.dead.Send(ctx, body, attributes); err != nil {
		q.log.Warn("the dead-letter queue took no message", "messageId", r.MessageID, "detail", err.Error())
		return reason
	}
	q.count(countDeadLettered)
	return nil
}
