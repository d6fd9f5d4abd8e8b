package invocation

import (
	"encoding/json"
	"errors"
	"strconv"
	"sync"

	"tokenvendor/shared/strictjson"
	"tokenvendor/shared/token"
)

const (
	// MaxRequests is how many requests one payload may hold.
	MaxRequests = 100
	// MaxParallel is how many of them are answered at once.
	MaxParallel = 8
	// maxAnswer keeps a list of answers below Lambda's 6 MB.
	maxAnswer = 5_500_000
)

// List is the payload of a direct invoke that holds several requests.
type List struct {
	// Requests is nil when the payload is a single request.
	Requests []json.RawMessage
	// MaxBytes bounds the answer.
	MaxBytes int
}

// ParseList reads {"requests": […]} and the optional "max_bytes", how large the answer
// may be: a state machine of AWS Step Functions takes 262144 bytes. A payload without
// requests is a single one. The error is a [*token.Error].
func ParseList(payload []byte) (List, error) {
	members, err := strictjson.Object(payload, strictjson.Limits{Outer: true, Depth: 16})
	var duplicate *strictjson.DuplicateError
	switch {
	case errors.As(err, &duplicate):
		return List{}, malformed(duplicate.Error())
	case err != nil:
		return List{}, malformed("the event is neither of a source that is known nor a request: " + err.Error())
	}
	raw, ok := members["requests"]
	if !ok {
		return List{}, nil
	}
	list := List{MaxBytes: maxAnswer}
	delete(members, "requests")
	if text, ok := members["max_bytes"]; ok {
		n, err := strconv.Atoi(string(text))
		if err != nil || n < 1024 || n > maxAnswer {
			return List{}, malformed("max_bytes must be a whole number from 1024 to 5500000")
		}
		list.MaxBytes = n
		delete(members, "max_bytes")
	}
	if len(members) > 0 || json.Unmarshal(raw, &list.Requests) != nil || len(list.Requests) == 0 || len(list.Requests) > MaxRequests {
		return List{}, malformed("requests must be a list of 1 to 100 requests, and the only member beside max_bytes")
	}
	return list, nil
}

func malformed(description string) error {
	return &token.Error{Kind: token.Malformed, Description: description}
}

// Answer answers each request in its place, some at once, with {"responses": […]}; a bad
// one doesn't spoil the others. Answers that do not fit are errors in their places.
func (l List) Answer(requestID string, one func(i int, raw json.RawMessage) ([]byte, *token.Error)) []byte {
	answers := make([][]byte, len(l.Requests))
	Each(len(l.Requests), func(i int) {
		answer, failure := one(i, l.Requests[i])
		if failure != nil {
			answer = failure.AppendJSON(nil, requestID)
		}
		answers[i] = answer
	})
	return l.join(answers, requestID)
}

// Each calls f for 0 to n-1, a few at once, and returns when all have returned.
func Each(n int, f func(i int)) {
	places := make(chan struct{}, MaxParallel)
	var all sync.WaitGroup
	for i := range n {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			f(i)
		})
	}
	all.Wait()
}

// join leaves room for an error in each place that is still to come, so that the whole
// is never larger than it may be.
func (l List) join(answers [][]byte, requestID string) []byte {
	tooLarge := (&token.Error{Kind: token.TooLarge, Description: "the answers together are larger than max_bytes or Lambda allows: ask for fewer"}).AppendJSON(nil, requestID)
	out := []byte(`{"responses":[`)
	for i, answer := range answers {
		if i > 0 {
			out = append(out, ',')
		}
		reserved := (len(answers)-i-1)*(len(tooLarge)+1) + len("]}")
		if len(answer) > len(tooLarge) && len(out)+len(answer)+reserved > l.MaxBytes {
			answer = tooLarge
		}
		out = append(out, answer...)
	}
	return append(out, "]}"...)
}
