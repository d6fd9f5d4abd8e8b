package main

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/invocation"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/token"
)

// record is what we read of a message in an event of SQS.
type record struct {
	MessageID  string `json:"messageId"`
	Body       string `json:"body"`
	Source     string `json:"eventSource"`
	Attributes struct {
		Receives string `json:"ApproximateReceiveCount"`
		Sent     string `json:"SentTimestamp"`
	} `json:"attributes"`
}

// failures is what Lambda reads with ReportBatchItemFailures: these messages come again,
// the others are done.
//
// Source: docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
type failures struct {
	Items []failure `json:"batchItemFailures"`
}

type failure struct {
	ID string `json:"itemIdentifier"`
}

// messages does each message for itself.
func (h *handler) messages(ctx context.Context, raw json.RawMessage) ([]byte, error) {
	var records []record
	if err := json.Unmarshal(raw, &records); err != nil || len(records) == 0 || len(records) > 10_000 {
		return nil, h.refuse(ctx, audit.SQS, malformed("Records is not a list of messages"))
	}
	for _, r := range records {
		if r.MessageID == "" || len(r.MessageID) > 128 || strings.ContainsFunc(r.MessageID, notIDByte) {
			// One that has no name cannot be said to have failed.
			return nil, h.refuse(ctx, audit.SQS, malformed("Records holds a message without a messageId"))
		}
	}
	failed := make([]bool, len(records))
	invocation.Each(len(records), func(i int) { failed[i] = !h.message(ctx, &records[i]) })
	out := failures{Items: []failure{}}
	for i, r := range records {
		if failed[i] {
			out.Items = append(out.Items, failure{r.MessageID})
		}
	}
	return encode(out), nil
}

func notIDByte(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.:", r)
}

// message reports whether a message is done with.
func (h *handler) message(ctx context.Context, r *record) bool {
	var err error
	func() {
		defer invocation.Rescue(h.log, invocation.RequestID(ctx), &err)
		err = h.once(ctx, "sqs "+r.MessageID, func(mine func() bool) error { return h.work(ctx, r, mine) })
	}()
	return err == nil
}

// work announces what a message orders, or puts it where somebody will find it.
func (h *handler) work(ctx context.Context, r *record, mine func() bool) error {
	asked := h.asked(ctx, audit.SQS, r.MessageID)
	if r.Source != "aws:sqs" {
		return h.failed(asked, malformed("eventSource is not aws:sqs"))
	}
	err := h.announceAll(ctx, []byte(r.Body), asked, token.Order{ID: r.MessageID, Time: r.sent()}, mine)
	if err == nil || h.dead == nil || !permanent(err) && !h.last(r) {
		return err
	}
	return h.bury(ctx, r, err, mine)
}

// last reports whether the queue would give up on the message itself, without a reason.
func (h *handler) last(r *record) bool {
	n, err := strconv.Atoi(r.Attributes.Receives)
	return err == nil && n >= h.maxReceives
}

// sent is when the message was sent; zero: that is not known.
func (r *record) sent() time.Time {
	ms, err := strconv.ParseInt(r.Attributes.Sent, 10, 64)
	if err != nil || ms <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// maxBuried is how much of a message is kept, in bytes: of the 1 MiB that SQS takes, its
// attributes must have some.
//
// Source: docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
const maxBuried = 1<<20 - 4<<10

// bury puts a message into the dead-letter queue, with the reason. When that fails the
// message has failed, and comes again.
func (h *handler) bury(ctx context.Context, r *record, reason error, mine func() bool) error {
	if !mine() {
		return errBusy()
	}
	failure := token.AsError(reason)
	attributes := map[string]string{
		"error": failure.Kind.Code(), "error_description": oauth.Printable(failure.Description), "message_id": r.MessageID,
	}
	body := r.Body
	if len(body) > maxBuried {
		// Without a cut there would be no room for the reason. It is no order anyhow.
		body, attributes["body_bytes"] = strings.ToValidUTF8(body[:maxBuried], ""), strconv.Itoa(len(body))
	}
	if err := h.dead.Send(ctx, body, attributes); err != nil {
		h.log.Warn("the dead-letter queue took no message", "messageId", r.MessageID, "detail", err.Error())
		return reason
	}
	h.count(countDeadLettered)
	return nil
}
