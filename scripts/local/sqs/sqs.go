// Package sqs is a local double of Amazon SQS: standard queues with visibility timeouts
// and dead-letter queues, and the event source mapping by which AWS Lambda takes messages
// from a queue.
//
// It has the operations SendMessage, ReceiveMessage, DeleteMessage and
// ChangeMessageVisibilityBatch, with String attributes. Queues are added by Go code, and
// messages end with the process. Package awsjson says which requests it accepts. It imports
// the standard library and awsjson only.
//
// Source: docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference.
package sqs

import (
	"crypto/rand"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tokenvendor/scripts/local/awsjson"
)

// Config configures a [Server].
type Config struct {
	// Region and Account are part of the queues' ARNs. Required.
	Region, Account string
}

// Queue configures a queue.
type Queue struct {
	// Visibility is how long a received message is hidden. Zero: 30 seconds.
	Visibility time.Duration
	// DeadLetter names the queue for messages that were received MaxReceives times and
	// not deleted. Empty: none.
	DeadLetter  string
	MaxReceives int
}

// Server is the endpoint. It is safe for concurrent use.
type Server struct {
	*awsjson.Endpoint
	cfg Config

	mu     sync.Mutex
	queues map[string]*queue // by name; guarded by mu, with their content
	sent   chan struct{}     // closed and replaced when a message is sent; guarded by mu
}

type queue struct {
	Queue
	arn      string
	messages []*message
}

type message struct {
	Message
	handle  string
	visible time.Time
	// source is the ARN of the queue from which SQS moved the message to its dead-letter queue;
	// empty: it was sent here.
	source string
}

// Message is a message in a queue.
type Message struct {
	ID, Body string
	// Attributes are those that the sender set, by name.
	Attributes map[string]Attribute
	// Sent and First are the times of sending and of the first receive; Receives is the
	// number of receives.
	Sent, First time.Time
	Receives    int
}

// Attribute is a message attribute. DataType is String.
type Attribute struct {
	DataType, StringValue string
}

// maxBytes is the largest message, attributes included.
const maxBytes = 1 << 20

// New returns a server without queues.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, queues: make(map[string]*queue), sent: make(chan struct{})}
	s.Endpoint = awsjson.New(awsjson.Config{
		// JSON may need up to six bytes for one of a message.
		Version: "1.0", Target: "AmazonSQS.", MaxBody: 8 * maxBytes,
		Type: func(code string) string { return "com.amazonaws.sqs#" + code },
		Operations: map[string]awsjson.Operation{
			"SendMessage":                  decode(s.sendMessage),
			"ReceiveMessage":               decode(s.receiveMessage),
			"DeleteMessage":                decode(s.deleteMessage),
			"ChangeMessageVisibilityBatch": decode(s.changeVisibilityBatch),
		},
	})
	return s
}

// AddQueue adds an empty queue.
func (s *Server) AddQueue(name string, q Queue) {
	if q.Visibility == 0 {
		q.Visibility = 30 * time.Second
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queues[name] = &queue{Queue: q, arn: s.arn(name)}
}

func (s *Server) arn(name string) string {
	return "arn:aws:sqs:" + s.cfg.Region + ":" + s.cfg.Account + ":" + name
}

// Messages returns all messages of a queue, including hidden ones.
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

// Send sends a message with attributes of the type String. It panics if the queue does
// not exist.
func (s *Server) Send(name, body string, attributes map[string]string) (id string) {
	typed := make(map[string]Attribute, len(attributes))
	for key, value := range attributes {
		typed[key] = Attribute{"String", value}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.put(s.queues[name], body, typed)
}

// put must be called with mu held.
func (s *Server) put(q *queue, body string, attributes map[string]Attribute) (id string) {
	now := time.Now()
	id = newID()
	q.messages = append(q.messages, &message{Message: Message{ID: id, Body: body, Attributes: attributes, Sent: now}, visible: now})
	close(s.sent)
	s.sent = make(chan struct{})
	return id
}

// newID returns a UUID.
func newID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b)
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// receive takes up to n visible messages. It moves those to the dead-letter queue that
// were received too often. mu must be held.
func (s *Server) receive(q *queue, n int, hidden time.Duration) []*message {
	now := time.Now()
	var taken []*message
	q.messages = slices.DeleteFunc(q.messages, func(m *message) bool {
		if len(taken) == n || now.Before(m.visible) {
			return false
		}
		if dead := s.queues[q.DeadLetter]; dead != nil && m.Receives >= q.MaxReceives {
			m.Receives, m.visible, m.First, m.source = 0, now, time.Time{}, q.arn
			dead.messages = append(dead.messages, m)
			return true
		}
		if m.Receives++; m.Receives == 1 {
			m.First = now
		}
		m.handle, m.visible = rand.Text(), now.Add(hidden)
		taken = append(taken, m)
		return false
	})
	return taken
}

// system returns the attributes that SQS itself adds to a message.
func (m *message) system() map[string]string {
	attributes := map[string]string{
		"ApproximateReceiveCount": strconv.Itoa(m.Receives), "SentTimestamp": strconv.FormatInt(m.Sent.UnixMilli(), 10), "SenderId": "AIDALOCAL",
		"ApproximateFirstReceiveTimestamp": strconv.FormatInt(m.First.UnixMilli(), 10),
	}
	if m.source != "" {
		attributes["DeadLetterQueueSourceArn"] = m.source
	}
	return attributes
}
