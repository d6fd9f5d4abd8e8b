package invocation

import (
	"encoding/json"
	"errors"
	"log/slog"
	"strconv"
	"sync"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/strictjson"
)

const (
	// MaxRequests is how many requests one payload may hold.
	MaxRequests = 100
	// MaxMembers is more members than the outermost object of a payload has, of a request or
	// of an event.
	MaxMembers = 128
	// MaxParallel is how many of them are answered at once.
	MaxParallel = 8
	// maxAnswer keeps a list of answers below Lambda's 6 MB.
	maxAnswer = 5_500_000
)

// List is the payload of a direct invoke with several requests.
type List struct {
	// Requests is nil if the payload is a single request.
	Requests []json.RawMessage
	// MaxBytes bounds the answer.
	MaxBytes int
}

// ParseList reads {"requests": […]} and the optional "max_bytes", how large the answer may be:
// a state machine of AWS Step Functions takes 262144 bytes. A payload without requests is a
// single request. The error is a [*fault.Error].
func ParseList(payload []byte) (List, error) {
	members, err := strictjson.Object(payload, strictjson.Limits{Outer: true, Depth: 16, Members: MaxMembers})
	var duplicate *strictjson.DuplicateError
	switch {
	case errors.As(err, &duplicate):
		return List{}, fault.Invalid(duplicate.Error())
	case err != nil:
		return List{}, fault.Invalid("the event is neither of a source that is known nor a request: it " + strictjson.Problem(err, payload))
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
			return List{}, fault.Invalid("max_bytes must be a whole number from 1024 to 5500000")
		}
		list.MaxBytes = n
		delete(members, "max_bytes")
	}
	if list.Requests, ok = strictjson.Elements(raw, MaxRequests); !ok || len(members) > 0 {
		return List{}, fault.Invalid("requests must be a list of 1 to 100 requests, and the only member beside max_bytes")
	}
	return list, nil
}

// Answer answers each request in its place with {"responses": […]}. work does what a request asks
// for, for some at once. answer returns the answer when all of that is done: it may say how long a
// token is valid from then on. A request that fails, even by a panic in work, has an error document
// in its place, and so has an answer that does not fit.
func (l List) Answer(log *slog.Logger, requestID string, work func(i int, raw json.RawMessage) error, answer func(i int) ([]byte, error)) []byte {
	answers := make([][]byte, len(l.Requests))
	for i, err := range Each(log, requestID, len(l.Requests), func(i int) error { return work(i, l.Requests[i]) }) {
		if err == nil {
			answers[i], err = answer(i)
		}
		if err != nil {
			answers[i] = fault.From(err).AppendJSON(nil, requestID)
		}
	}
	return l.join(answers, requestID)
}

// Each calls f for 0 to n-1, a few at once, and returns their errors when all have returned.
// A panic is the error of its call only.
func Each(log *slog.Logger, requestID string, n int, f func(i int) error) []error {
	errs, permits := make([]error, n), make(chan struct{}, MaxParallel)
	var all sync.WaitGroup
	for i := range n {
		permits <- struct{}{}
		all.Go(func() {
			defer func() { <-permits }()
			errs[i] = fault.Catch(log, &requestID, func() error { return f(i) })
		})
	}
	all.Wait()
	return errs
}

// join leaves room for an error in each place that is still to come, so that the answer is
// never larger than MaxBytes.
func (l List) join(answers [][]byte, requestID string) []byte {
	tooLarge := fault.New(fault.TooLarge, "the answers together are larger than max_bytes or Lambda allows: ask for fewer").AppendJSON(nil, requestID)
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
