package sqs

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"tokenvendor/scripts/local/awsjson"
)

// The names of the errors in AWS's model.
const (
	noQueue     = "QueueDoesNotExist"
	badValue    = "InvalidParameterValue"
	badText     = "InvalidMessageContents"
	missing     = "MissingParameter"
	unsupported = "UnsupportedOperation"
)

type apiError = awsjson.Error

func fail(code, message string) *apiError { return &apiError{Code: code, Message: message} }

// decode is [awsjson.Decode] for an operation that supports some parameters only. A
// request with another parameter is refused: ignoring it would be a hidden difference
// from AWS.
func decode[In any](run func(In) (any, *apiError)) awsjson.Operation {
	operation := awsjson.Decode(run)
	return func(body []byte) (any, *apiError) {
		strict := json.NewDecoder(bytes.NewReader(body))
		strict.DisallowUnknownFields()
		if err := strict.Decode(new(In)); err != nil {
			if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
				return nil, fail(unsupported, "the parameter "+name+" is not supported")
			}
		}
		return operation(body)
	}
}

// find returns the queue of a URL. The host of the URL is ignored. mu must be held.
func (s *Server) find(url string) (*queue, *apiError) {
	q := s.queues[url[strings.LastIndexByte(url, '/')+1:]]
	if q == nil {
		return nil, fail(noQueue, "the specified queue does not exist")
	}
	return q, nil
}

type sendInput struct {
	QueueURL    string `json:"QueueUrl"`
	MessageBody string
	Attributes  map[string]Attribute `json:"MessageAttributes"`
}

type sendOutput struct {
	MessageID     string `json:"MessageId"`
	BodyMD5       string `json:"MD5OfMessageBody"`
	AttributesMD5 string `json:"MD5OfMessageAttributes,omitempty"`
}

func (s *Server) sendMessage(in sendInput) (any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, problem := s.find(in.QueueURL)
	if problem == nil {
		problem = in.check()
	}
	if problem != nil {
		return nil, problem
	}
	id := s.put(q, in.MessageBody, in.Attributes)
	return sendOutput{MessageID: id, BodyMD5: md5Of([]byte(in.MessageBody)), AttributesMD5: attributesMD5(in.Attributes)}, nil
}

func (in *sendInput) check() *apiError {
	size := len(in.MessageBody)
	for name, a := range in.Attributes {
		if name == "" || a.DataType != "String" || a.StringValue == "" {
			return fail(badValue, "a message attribute must have a name, the type String and a value that is not empty")
		}
		size += len(name) + len(a.DataType) + len(a.StringValue)
	}
	switch {
	case in.MessageBody == "":
		return fail(missing, "the request must contain the parameter MessageBody")
	case size > maxBytes:
		return fail(badValue, "the message must be shorter than 1048576 bytes")
	case !utf8.ValidString(in.MessageBody) || strings.ContainsFunc(in.MessageBody, notMessageRune):
		return fail(badText, "the message contains characters outside the allowed set")
	case len(in.Attributes) > 10:
		return fail(badValue, "a message has at most 10 attributes")
	}
	return nil
}

// notMessageRune is true outside #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD |
// #x10000 to #x10FFFF.
func notMessageRune(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF
}

type receiveInput struct {
	QueueURL              string `json:"QueueUrl"`
	VisibilityTimeout     *int   // seconds; nil: the queue's
	MaxNumberOfMessages   *int
	WaitTimeSeconds       int
	MessageAttributeNames []string
	// Both name attributes that SQS itself adds. The first one is the newer name.
	MessageSystemAttributeNames []string
	AttributeNames              []string
}

// valid reports whether the times are within the limits of SQS.
func (in receiveInput) valid() bool {
	hidden := in.VisibilityTimeout
	return in.WaitTimeSeconds >= 0 && in.WaitTimeSeconds <= 20 && (hidden == nil || *hidden >= 0 && *hidden <= longestHidden)
}

type received struct {
	MessageID     string `json:"MessageId"`
	ReceiptHandle string
	MD5OfBody     string
	Body          string
	AttributesMD5 string               `json:"MD5OfMessageAttributes,omitempty"`
	Attributes    map[string]Attribute `json:"MessageAttributes,omitempty"`
	System        map[string]string    `json:"Attributes,omitempty"`
}

func (s *Server) receiveMessage(in receiveInput) (any, *apiError) {
	n := 1
	if in.MaxNumberOfMessages != nil {
		n = *in.MaxNumberOfMessages
	}
	if n < 1 || n > 10 || !in.valid() {
		return nil, fail(badValue, "MaxNumberOfMessages must be 1 to 10, WaitTimeSeconds 0 to 20 and VisibilityTimeout 0 to 43200")
	}
	end := time.NewTimer(time.Duration(in.WaitTimeSeconds) * time.Second)
	defer end.Stop()
	// A hidden message may become visible during the wait.
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		answer, sent, problem := s.take(in, n)
		if problem != nil || len(answer) > 0 || in.WaitTimeSeconds == 0 {
			return map[string]any{"Messages": answer}, problem
		}
		select {
		case <-sent:
		case <-tick.C:
		case <-end.C:
			return map[string]any{}, nil
		}
	}
}

// take receives up to n messages. sent is closed when the next message is sent.
func (s *Server) take(in receiveInput, n int) (answer []received, sent chan struct{}, problem *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, problem := s.find(in.QueueURL)
	if problem != nil {
		return nil, nil, problem
	}
	hidden := q.Visibility
	if in.VisibilityTimeout != nil {
		hidden = time.Duration(*in.VisibilityTimeout) * time.Second
	}
	for _, m := range s.receive(q, n, hidden) {
		out := received{MessageID: m.ID, ReceiptHandle: m.handle, MD5OfBody: md5Of([]byte(m.Body)), Body: m.Body, Attributes: maps.Clone(m.Attributes)}
		maps.DeleteFunc(out.Attributes, func(name string, _ Attribute) bool { return !asked(in.MessageAttributeNames, name) })
		out.AttributesMD5 = attributesMD5(out.Attributes)
		out.System = m.system()
		maps.DeleteFunc(out.System, func(name, _ string) bool {
			return !asked(in.MessageSystemAttributeNames, name) && !asked(in.AttributeNames, name)
		})
		answer = append(answer, out)
	}
	return answer, s.sent, nil
}

// asked reports whether a request names an attribute.
func asked(names []string, name string) bool {
	return slices.Contains(names, name) || slices.Contains(names, "All")
}
