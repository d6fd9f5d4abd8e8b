package sqs

import (
	"context"
	"encoding/json"
	"sync"
	"time"
)

// Mapping is the event source mapping by which AWS Lambda takes messages from a queue
// for a function, with ReportBatchItemFailures.
//
// Source: docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
type Mapping struct {
	// Server and Queue are required.
	Server *Server
	Queue  string
	// BatchSize is the most messages in one event; 0: 10.
	BatchSize int
	// Concurrency is how many events are under way at once; 0: 2.
	Concurrency int
	// Invoke invokes the function; failed: it answered with an error, or not at all.
	// Required.
	Invoke func(ctx context.Context, event []byte) (answer []byte, failed bool)
}

// Run takes messages until ctx ends. Messages that were taken by then come again when
// their visibility time-out ends.
func (m Mapping) Run(ctx context.Context) {
	if m.BatchSize == 0 {
		m.BatchSize = 10
	}
	if m.Concurrency == 0 {
		m.Concurrency = 2
	}
	var all sync.WaitGroup
	for range m.Concurrency {
		all.Go(func() {
			for ctx.Err() == nil {
				m.round(ctx)
			}
		})
	}
	all.Wait()
}

func (m Mapping) round(ctx context.Context) {
	batch, sent := m.Server.batch(m.Queue, m.BatchSize)
	if len(batch) == 0 {
		select {
		case <-ctx.Done():
		case <-sent:
		case <-time.After(50 * time.Millisecond): // one may be visible again
		}
		return
	}
	answer, failed := m.Invoke(ctx, m.event(batch))
	if failed || ctx.Err() != nil {
		return
	}
	if again, ok := stillToDo(answer, batch); ok {
		m.Server.done(m.Queue, batch, again)
	}
}

// batch takes messages. What it returns does not change any more.
func (s *Server) batch(name string, n int) (taken []message, sent chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[name]
	for _, m := range s.receive(q, n, q.Visibility) {
		taken = append(taken, *m)
	}
	return taken, s.sent
}

// done deletes the messages that need not come again.
func (s *Server) done(name string, batch []message, again map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range batch {
		if !again[m.ID] {
			s.queues[name].delete(m.handle)
		}
	}
}

// stillToDo reads an answer; not ok: the whole batch has failed.
func stillToDo(answer []byte, batch []message) (again map[string]bool, ok bool) {
	again = make(map[string]bool)
	var out struct {
		Items []struct {
			ID *string `json:"itemIdentifier"`
		} `json:"batchItemFailures"`
	}
	if len(answer) == 0 {
		return again, true
	}
	if json.Unmarshal(answer, &out) != nil {
		return nil, false
	}
	known := make(map[string]bool)
	for _, m := range batch {
		known[m.ID] = true
	}
	for _, item := range out.Items {
		if item.ID == nil || !known[*item.ID] {
			return nil, false
		}
		again[*item.ID] = true
	}
	return again, true
}

// event is the event that Lambda makes of messages.
func (m Mapping) event(batch []message) []byte {
	records := make([]map[string]any, len(batch))
	for i, one := range batch {
		attributes := make(map[string]any)
		for name, a := range one.Attributes {
			attributes[name] = map[string]any{
				"stringValue": a.StringValue, "binaryValue": a.BinaryValue, "dataType": a.DataType, "stringListValues": []string{}, "binaryListValues": []string{},
			}
		}
		records[i] = map[string]any{
			"messageId": one.ID, "receiptHandle": one.handle, "body": one.Body, "attributes": one.system(), "messageAttributes": attributes,
			"md5OfBody": md5Of([]byte(one.Body)), "eventSource": "aws:sqs", "eventSourceARN": m.Server.ARN(m.Queue), "awsRegion": m.Server.cfg.Region,
		}
	}
	text, err := json.Marshal(map[string]any{"Records": records})
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return text
}
