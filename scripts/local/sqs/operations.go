package sqs

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tokenvendor/scripts/local/awsjson"
)

// apiError is an error answer, by the name of its type in AWS's model.
type apiError = awsjson.Error

func fail(code, message string) *apiError { return &apiError{Code: code, Message: message} }

// ServeHTTP answers one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.base.Store("http://" + r.Host)
	s.Endpoint.ServeHTTP(w, r)
}

// find returns the queue of a URL, whatever its host. mu must be held.
func (s *Server) find(url string) (*queue, *apiError) {
	q := s.queues[url[strings.LastIndexByte(url, '/')+1:]]
	if q == nil {
		return nil, fail(noQueue, "the specified queue does not exist")
	}
	return q, nil
}

func (s *Server) url(name string) string {
	base, _ := s.base.Load().(string)
	return base + "/" + s.cfg.Account + "/" + name
}

type sendInput struct {
	QueueURL     string `json:"QueueUrl"`
	ID           string `json:"Id"` // in batches
	MessageBody  string
	DelaySeconds int
	Attributes   map[string]Attribute `json:"MessageAttributes"`
}

type sendOutput struct {
	ID            string `json:"Id,omitempty"`
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
	return s.send(q, in), nil
}

// send must be called with mu held.
func (s *Server) send(q *queue, in sendInput) sendOutput {
	m := newMessage(in.MessageBody, in.Attributes)
	s.put(q, m, time.Duration(in.DelaySeconds)*time.Second)
	return sendOutput{ID: in.ID, MessageID: m.ID, BodyMD5: md5Of([]byte(m.Body)), AttributesMD5: attributesMD5(m.Attributes)}
}

func (in *sendInput) check() *apiError {
	size := in.size()
	switch {
	case in.MessageBody == "":
		return fail("MissingParameter", "the request must contain the parameter MessageBody")
	case size > maxBytes:
		return fail(badValue, "the message must be shorter than 1048576 bytes")
	case in.DelaySeconds < 0 || in.DelaySeconds > 900:
		return fail(badValue, "DelaySeconds must be from 0 to 900")
	case !utf8.ValidString(in.MessageBody) || strings.ContainsFunc(in.MessageBody, notMessageRune):
		return fail(badText, "the message contains characters outside the allowed set")
	case len(in.Attributes) > 10:
		return fail(badValue, "a message has at most 10 attributes")
	}
	for name, a := range in.Attributes {
		binary := strings.HasPrefix(a.DataType, "Binary")
		known := binary || strings.HasPrefix(a.DataType, "String") || strings.HasPrefix(a.DataType, "Number")
		if name == "" || !known || binary != (len(a.BinaryValue) > 0) || binary == (a.StringValue != "") {
			return fail(badValue, "a message attribute must have a name, a type and a value that is not empty")
		}
	}
	return nil
}

func (in *sendInput) size() int {
	size := len(in.MessageBody)
	for name, a := range in.Attributes {
		size += len(name) + len(a.DataType) + len(a.StringValue) + len(a.BinaryValue)
	}
	return size
}

// notMessageRune is true outside #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD |
// #x10000 to #x10FFFF.
func notMessageRune(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF
}

type batchInput struct {
	QueueURL string `json:"QueueUrl"`
	Entries  []sendInput
}

func (s *Server) sendMessageBatch(in batchInput) (any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, problem := s.find(in.QueueURL)
	switch {
	case problem != nil:
		return nil, problem
	case len(in.Entries) == 0:
		return nil, fail(batchEmpty, "there are no entries")
	case len(in.Entries) > 10:
		return nil, fail(batchLong, "there are more than 10 entries")
	}
	total := 0
	for _, e := range in.Entries {
		total += e.size()
	}
	if total > maxBytes {
		return nil, fail("BatchRequestTooLong", "the entries together are larger than 1048576 bytes")
	}
	good, bad := []sendOutput{}, []map[string]any{}
	for _, e := range in.Entries {
		if problem := e.check(); problem != nil {
			bad = append(bad, map[string]any{"Id": e.ID, "SenderFault": true, "Code": problem.Code, "Message": problem.Message})
			continue
		}
		good = append(good, s.send(q, e))
	}
	return map[string]any{"Successful": good, "Failed": bad}, nil
}

type receiveInput struct {
	QueueURL              string `json:"QueueUrl"`
	MaxNumberOfMessages   *int
	VisibilityTimeout     *int
	WaitTimeSeconds       int
	AttributeNames        []string
	SystemNames           []string `json:"MessageSystemAttributeNames"`
	MessageAttributeNames []string
}

type received struct {
	MessageID     string `json:"MessageId"`
	ReceiptHandle string
	MD5OfBody     string
	Body          string
	Attributes    map[string]string    `json:",omitempty"`
	AttributesMD5 string               `json:"MD5OfMessageAttributes,omitempty"`
	Given         map[string]Attribute `json:"MessageAttributes,omitempty"`
}

func (s *Server) receiveMessage(in receiveInput) (any, *apiError) {
	n := 1
	if in.MaxNumberOfMessages != nil {
		n = *in.MaxNumberOfMessages
	}
	wait := time.Duration(in.WaitTimeSeconds) * time.Second
	if n < 1 || n > 10 || wait < 0 || wait > maxWait || in.VisibilityTimeout != nil && (*in.VisibilityTimeout < 0 || *in.VisibilityTimeout > 43200) {
		return nil, fail(badValue, "MaxNumberOfMessages is from 1 to 10, WaitTimeSeconds from 0 to 20, VisibilityTimeout from 0 to 43200")
	}
	end := time.NewTimer(wait)
	defer end.Stop()
	// What becomes visible again while somebody waits is seen here.
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for {
		answer, sent, problem := s.take(in, n)
		if problem != nil || len(answer) > 0 || wait == 0 {
			return map[string]any{"Messages": answer}, problem
		}
		select {
		case <-sent:
		case <-look.C:
		case <-end.C:
			return map[string]any{}, nil
		}
	}
}

func (s *Server) take(in receiveInput, n int) (answer []received, sent chan struct{}, problem *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, problem := s.find(in.QueueURL)
	if problem != nil {
		return nil, nil, problem
	}
	visibility := q.Visibility
	if in.VisibilityTimeout != nil {
		visibility = time.Duration(*in.VisibilityTimeout) * time.Second
	}
	for _, m := range s.receive(q, n, visibility) {
		answer = append(answer, m.answer(append(in.SystemNames, in.AttributeNames...), in.MessageAttributeNames))
	}
	return answer, s.sent, nil
}

func (m *message) answer(system, given []string) received {
	out := received{MessageID: m.ID, ReceiptHandle: m.handle, MD5OfBody: md5Of([]byte(m.Body)), Body: m.Body}
	out.Attributes = m.system()
	maps.DeleteFunc(out.Attributes, func(name, _ string) bool { return !slices.Contains(system, name) && !slices.Contains(system, "All") })
	out.Given = maps.Clone(m.Attributes)
	maps.DeleteFunc(out.Given, func(name string, _ Attribute) bool {
		return !slices.ContainsFunc(given, func(want string) bool {
			prefix, any := strings.CutSuffix(want, ".*")
			return want == name || want == "All" || any && strings.HasPrefix(name, prefix)
		})
	})
	out.AttributesMD5 = attributesMD5(out.Given)
	return out
}

// system are the attributes that SQS itself gives a message.
func (m *message) system() map[string]string {
	return map[string]string{
		"ApproximateReceiveCount": strconv.Itoa(m.Receives), "SentTimestamp": strconv.FormatInt(m.Sent.UnixMilli(), 10), "SenderId": "AIDALOCAL",
		"ApproximateFirstReceiveTimestamp": strconv.FormatInt(m.First.UnixMilli(), 10),
	}
}

type handleInput struct {
	QueueURL          string `json:"QueueUrl"`
	ReceiptHandle     string
	VisibilityTimeout int
}

// deleteMessage also succeeds for a handle that is not of use any more, as SQS does.
func (s *Server) deleteMessage(in handleInput) (any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, problem := s.find(in.QueueURL)
	switch {
	case problem != nil:
		return nil, problem
	case in.ReceiptHandle == "":
		return nil, fail(badHandle, "the receipt handle is not valid")
	}
	q.delete(in.ReceiptHandle)
	return map[string]any{}, nil
}

func (s *Server) changeMessageVisibility(in handleInput) (any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, problem := s.find(in.QueueURL)
	if problem != nil {
		return nil, problem
	}
	for _, m := range q.messages {
		if m.handle == in.ReceiptHandle && in.ReceiptHandle != "" {
			m.visible = s.cfg.Now().Add(time.Duration(in.VisibilityTimeout) * time.Second)
			return map[string]any{}, nil
		}
	}
	return nil, fail(badHandle, "the receipt handle is not valid")
}

func (s *Server) getQueueURL(in struct{ QueueName string }) (any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, problem := s.find(in.QueueName)
	if problem != nil {
		return nil, problem
	}
	return map[string]any{"QueueUrl": s.url(q.name)}, nil
}

func (s *Server) getQueueAttributes(in struct {
	QueueURL       string `json:"QueueUrl"`
	AttributeNames []string
},
) (any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, problem := s.find(in.QueueURL)
	if problem != nil {
		return nil, problem
	}
	all := q.attributes(s.ARN(q.name), s.ARN(q.DeadLetter), s.cfg.Now())
	maps.DeleteFunc(all, func(name, _ string) bool {
		return !slices.Contains(in.AttributeNames, name) && !slices.Contains(in.AttributeNames, "All")
	})
	return map[string]any{"Attributes": all}, nil
}

func (s *Server) listQueues(in struct{ QueueNamePrefix string }) (any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	urls := []string{}
	for _, name := range slices.Sorted(maps.Keys(s.queues)) {
		if strings.HasPrefix(name, in.QueueNamePrefix) {
			urls = append(urls, s.url(name))
		}
	}
	return map[string]any{"QueueUrls": urls}, nil
}

func (s *Server) purgeQueue(in handleInput) (any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, problem := s.find(in.QueueURL)
	if problem != nil {
		return nil, problem
	}
	q.messages = nil
	return map[string]any{}, nil
}
