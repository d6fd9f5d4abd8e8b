package sqs

import (
	"slices"
	"time"
)

// handleLength is that of the handles of [rand.Text].
const handleLength = 26

// longestHidden is the longest visibility timeout, in seconds.
const longestHidden = 43200

type deleteInput struct {
	QueueURL      string `json:"QueueUrl"`
	ReceiptHandle string
}

// deleteMessage has no effect for a message that was received again since: SQS answers with success
// and keeps it.
func (s *Server) deleteMessage(in deleteInput) (any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, problem := s.find(in.QueueURL)
	if problem == nil {
		problem = checkHandle(in.ReceiptHandle)
	}
	if problem != nil {
		return nil, problem
	}
	q.messages = slices.DeleteFunc(q.messages, func(m *message) bool { return m.handle == in.ReceiptHandle })
	return map[string]any{}, nil
}

func checkHandle(handle string) *apiError {
	switch len(handle) {
	case 0:
		return fail(missing, "the request must contain the parameter ReceiptHandle")
	case handleLength:
		return nil
	}
	return fail("ReceiptHandleIsInvalid", "the receipt handle is not one of this queue")
}

type visibilityInput struct {
	QueueURL string `json:"QueueUrl"`
	Entries  []visibilityEntry
}

type visibilityEntry struct {
	ID                string `json:"Id"`
	ReceiptHandle     string
	VisibilityTimeout int
}

type batchOutput struct {
	Successful []batchResult
	Failed     []batchError
}

type batchResult struct {
	ID string `json:"Id"`
}

type batchError struct {
	ID          string `json:"Id"`
	SenderFault bool
	Code        string
	Message     string
}

func (s *Server) changeVisibilityBatch(in visibilityInput) (any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, problem := s.find(in.QueueURL)
	if problem == nil {
		problem = in.check()
	}
	if problem != nil {
		return nil, problem
	}
	out := batchOutput{Successful: []batchResult{}, Failed: []batchError{}}
	now := time.Now()
	for _, entry := range in.Entries {
		if problem := q.hide(entry, now); problem != nil {
			out.Failed = append(out.Failed, batchError{entry.ID, true, problem.Code, problem.Message})
			continue
		}
		out.Successful = append(out.Successful, batchResult{entry.ID})
	}
	return out, nil
}

func (in visibilityInput) check() *apiError {
	seen := make(map[string]bool)
	for _, entry := range in.Entries {
		if seen[entry.ID] {
			return fail("BatchEntryIdsNotDistinct", "two entries have the same Id")
		}
		seen[entry.ID] = true
	}
	switch {
	case len(in.Entries) == 0:
		return fail("EmptyBatchRequest", "there must be at least one entry")
	case len(in.Entries) > batchSize:
		return fail("TooManyEntriesInBatchRequest", "there must be at most 10 entries")
	}
	return nil
}

// hide changes when a message in flight is visible again. The mu of the server must be held.
func (q *queue) hide(entry visibilityEntry, now time.Time) *apiError {
	if problem := checkHandle(entry.ReceiptHandle); problem != nil {
		return problem
	}
	if entry.VisibilityTimeout < 0 || entry.VisibilityTimeout > longestHidden {
		return fail(badValue, "VisibilityTimeout must be 0 to 43200")
	}
	for _, m := range q.messages {
		if m.handle == entry.ReceiptHandle && now.Before(m.visible) {
			m.visible = now.Add(time.Duration(entry.VisibilityTimeout) * time.Second)
			return nil
		}
	}
	return fail("MessageNotInflight", "the message is not in flight")
}
