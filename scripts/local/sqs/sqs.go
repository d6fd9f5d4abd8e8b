// Package sqs is the part of Amazon SQS that the token vendor uses, on one machine:
// standard queues with visibility time-outs and dead-letter queues, and the event source
// mapping by which AWS Lambda takes messages from them.
//
// Package awsjson says what it lets in. It has no FIFO queues, no policies and no
// delays longer than a message's own; messages are gone with the process.
// It imports the standard library only.
//
// Source: docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference.
package sqs

import (
	"crypto/rand"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tokenvendor/scripts/local/awsjson"
)

// Config configures a [Server].
type Config struct {
	// Region and Account make the ARNs; required.
	Region, Account string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Queue says how a queue behaves.
type Queue struct {
	// Visibility is how long a message that was received is hidden; 0: 30 seconds.
	Visibility time.Duration
	// DeadLetter is the queue for messages that were received MaxReceives times and not
	// deleted; empty: there is none.
	DeadLetter  string
	MaxReceives int
}

// Server is the endpoint. It is safe for concurrent use. Of the [awsjson.Endpoint] it has
// ServeHTTP, Calls, Fail, Hang and Inject.
type Server struct {
	*awsjson.Endpoint
	cfg  Config
	base atomic.Value // string: scheme and host that callers use

	mu     sync.Mutex
	queues map[string]*queue // guarded by mu, and all that is in them
	// sent is closed and replaced when a message comes.
	sent chan struct{} // guarded by mu
}

type queue struct {
	Queue
	name     string
	messages []*message
}

// message is one in a queue.
type message struct {
	Message
	handle  string
	visible time.Time
}

// Message is a message as it lies in a queue.
type Message struct {
	ID, Body string
	// Attributes are those that the sender gave it, by name.
	Attributes map[string]Attribute
	// Sent and First are when it was sent and first received; Receives is how often.
	Sent, First time.Time
	Receives    int
}

// Attribute is a message attribute. DataType is String, Number or Binary, or begins so.
type Attribute struct {
	DataType    string
	StringValue string `json:",omitempty"`
	BinaryValue []byte `json:",omitempty"`
}

const (
	noQueue    = "QueueDoesNotExist"
	badHandle  = "ReceiptHandleIsInvalid"
	badValue   = "InvalidParameterValue"
	badText    = "InvalidMessageContents"
	batchEmpty = "EmptyBatchRequest"
	batchLong  = "TooManyEntriesInBatchRequest"
	// maxBytes is the largest message with its attributes, and the largest batch.
	maxBytes = 1 << 20
	// maxWait is the longest that a receive may wait.
	maxWait = 20 * time.Second
)

// New returns an SQS without queues.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Server{cfg: cfg, queues: make(map[string]*queue), sent: make(chan struct{})}
	s.base.Store("http://localhost")
	s.Endpoint = awsjson.New(awsjson.Config{
		// A batch of the largest messages, escaped.
		Version: "1.0", Target: "AmazonSQS.", MaxBody: 8 * maxBytes,
		Type: func(code string) string { return "com.amazonaws.sqs#" + code },
		Operations: map[string]awsjson.Operation{
			"SendMessage":             awsjson.Decode(s.sendMessage),
			"SendMessageBatch":        awsjson.Decode(s.sendMessageBatch),
			"ReceiveMessage":          awsjson.Decode(s.receiveMessage),
			"DeleteMessage":           awsjson.Decode(s.deleteMessage),
			"ChangeMessageVisibility": awsjson.Decode(s.changeMessageVisibility),
			"GetQueueUrl":             awsjson.Decode(s.getQueueURL),
			"GetQueueAttributes":      awsjson.Decode(s.getQueueAttributes),
			"ListQueues":              awsjson.Decode(s.listQueues),
			"PurgeQueue":              awsjson.Decode(s.purgeQueue),
		},
	})
	return s
}

// AddQueue adds an empty queue, or changes how one behaves.
func (s *Server) AddQueue(name string, q Queue) {
	if q.Visibility == 0 {
		q.Visibility = 30 * time.Second
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if there := s.queues[name]; there != nil {
		there.Queue = q
		return
	}
	s.queues[name] = &queue{Queue: q, name: name}
}

// ARN returns a queue's.
func (s *Server) ARN(name string) string {
	return "arn:aws:sqs:" + s.cfg.Region + ":" + s.cfg.Account + ":" + name
}

// Messages returns all messages of a queue, hidden ones too.
func (s *Server) Messages(name string) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Message
	if q := s.queues[name]; q != nil {
		for _, m := range q.messages {
			all = append(all, m.Message)
		}
	}
	return all
}

// Send sends a message; attributes are of the type String. It panics if there is no
// such queue.
func (s *Server) Send(name, body string, attributes map[string]string) (id string) {
	m := newMessage(body, nil)
	for key, value := range attributes {
		m.Attributes[key] = Attribute{DataType: "String", StringValue: value}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(s.queues[name], m, 0)
	return m.ID
}

func newMessage(body string, attributes map[string]Attribute) *message {
	if attributes = maps.Clone(attributes); attributes == nil {
		attributes = make(map[string]Attribute)
	}
	return &message{Message: Message{ID: newID(), Body: body, Attributes: attributes}}
}

// newID returns a UUID.
func newID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b)
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// put must be called with mu held.
func (s *Server) put(q *queue, m *message, delay time.Duration) {
	now := s.cfg.Now()
	m.Sent, m.visible = now, now.Add(delay)
	q.messages = append(q.messages, m)
	close(s.sent)
	s.sent = make(chan struct{})
}

// receive takes up to n messages that are visible, and moves those away that were
// received too often. mu must be held.
func (s *Server) receive(q *queue, n int, visibility time.Duration) []*message {
	now := s.cfg.Now()
	var taken []*message
	q.messages = slices.DeleteFunc(q.messages, func(m *message) bool {
		if len(taken) == n || now.Before(m.visible) {
			return false
		}
		if dead := s.queues[q.DeadLetter]; dead != nil && m.Receives >= q.MaxReceives {
			m.Receives, m.visible, m.First = 0, now, time.Time{}
			dead.messages = append(dead.messages, m)
			return true
		}
		if m.Receives++; m.Receives == 1 {
			m.First = now
		}
		m.handle, m.visible = rand.Text(), now.Add(visibility)
		taken = append(taken, m)
		return false
	})
	return taken
}

// delete deletes the message with that handle; false: there is none.
func (q *queue) delete(handle string) bool {
	before := len(q.messages)
	q.messages = slices.DeleteFunc(q.messages, func(m *message) bool { return handle != "" && m.handle == handle })
	return len(q.messages) < before
}

// counts are the attributes that a queue has by what is in it.
func (q *queue) attributes(arn, deadARN string, now time.Time) map[string]string {
	visible, hidden := 0, 0
	for _, m := range q.messages {
		if now.Before(m.visible) {
			hidden++
		} else {
			visible++
		}
	}
	all := map[string]string{
		"QueueArn": arn, "VisibilityTimeout": strconv.Itoa(int(q.Visibility / time.Second)),
		"ApproximateNumberOfMessages": strconv.Itoa(visible), "ApproximateNumberOfMessagesNotVisible": strconv.Itoa(hidden),
	}
	if q.DeadLetter != "" {
		all["RedrivePolicy"] = `{"deadLetterTargetArn":"` + deadARN + `","maxReceiveCount":` + strconv.Itoa(q.MaxReceives) + `}`
	}
	return all
}
