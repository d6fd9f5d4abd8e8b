package sqs

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"
)

// batchSize is the largest number of messages in one event.
const batchSize = 10

// Mapping is the event source mapping by which AWS Lambda takes messages from a queue for
// a function, with ReportBatchItemFailures.
//
// Source: docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
type Mapping struct {
	// Server and Queue are required.
	Server *Server
	Queue  string
	// Concurrency is the number of events in flight. Zero: 2.
	Concurrency int
	// Invoke invokes the function. failed says that the function returned an error or
	// no answer. Required.
	Invoke func(ctx context.Context, event []byte) (answer []byte, failed bool)
}

// Run takes messages until ctx ends. Messages in flight at that time become visible again
// after their visibility timeout.
func (m Mapping) Run(ctx context.Context) {
	if m.Concurrency == 0 {
		m.Concurrency = 2
	}
	var all sync.WaitGroup
	for range m.Concurrency {
		all.Go(func() {
			for ctx.Err() == nil {
				m.deliver(ctx)
			}
		})
	}
	all.Wait()
}

// deliver takes one batch to the function, or waits for messages.
func (m Mapping) deliver(ctx context.Context) {
	batch, sent := m.Server.batch(m.Queue)
	if len(batch) == 0 {
		select {
		case <-ctx.Done():
		case <-sent:
		case <-time.After(50 * time.Millisecond): // a hidden message may be visible again
		}
		return
	}
	answer, failed := m.Invoke(ctx, m.event(batch))
	if failed || ctx.Err() != nil {
		return
	}
	if again, ok := failures(answer, batch); ok {
		m.Server.delete(m.Queue, batch, again)
	}
}

// batch receives messages. It returns copies, because the messages in the queue change.
func (s *Server) batch(name string) (taken []message, sent chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[name]
	for _, m := range s.receive(q, batchSize, q.Visibility) {
		taken = append(taken, *m)
	}
	return taken, s.sent
}

// delete deletes the messages of a batch whose ids are not in again.
func (s *Server) delete(name string, batch []message, again map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[name]
	q.messages = slices.DeleteFunc(q.messages, func(m *message) bool {
		// A message that was received again since has another handle.
		return slices.ContainsFunc(batch, func(b message) bool { return b.handle == m.handle && !again[b.ID] })
	})
}

// failures returns the ids of the messages that an answer reports as failed. ok is false
// where Lambda regards the whole batch as failed: the answer is not JSON or names an
// unknown id.
func failures(answer []byte, batch []message) (failed map[string]bool, ok bool) {
	failed = make(map[string]bool)
	var out struct {
		Items []struct {
			ID *string `json:"itemIdentifier"`
		} `json:"batchItemFailures"`
	}
	if len(answer) == 0 {
		return failed, true
	}
	if json.Unmarshal(answer, &out) != nil {
		return nil, false
	}
	for _, item := range out.Items {
		if item.ID == nil || !slices.ContainsFunc(batch, func(m message) bool { return m.ID == *item.ID }) {
			return nil, false
		}
		failed[*item.ID] = true
	}
	return failed, true
}

// event returns the event that Lambda makes of messages.
func (m Mapping) event(batch []message) []byte {
	region := m.Server.cfg.Region
	records := make([]map[string]any, len(batch))
	for i, one := range batch {
		attributes := make(map[string]any)
		for name, a := range one.Attributes {
			attributes[name] = map[string]any{
				"stringValue": a.StringValue, "dataType": a.DataType, "stringListValues": []string{}, "binaryListValues": []string{},
			}
		}
		records[i] = map[string]any{
			"messageId": one.ID, "receiptHandle": one.handle, "body": one.Body, "attributes": one.system(), "messageAttributes": attributes,
			"md5OfBody": md5Of([]byte(one.Body)), "eventSource": "aws:sqs", "awsRegion": region,
			"eventSourceARN": m.Server.arn(m.Queue),
		}
	}
	text, err := json.Marshal(map[string]any{"Records": records})
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return text
}
