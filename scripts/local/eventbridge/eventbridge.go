// Package eventbridge is a local double of Amazon EventBridge: event buses, rules by
// source and detail type, and the asynchronous invocation by which a rule's function gets
// its events.
//
// It has the operation PutEvents, for entries with EventBusName, Source, DetailType and
// Detail. Buses and rules are added by Go code, and events end with the process. Package
// awsjson says which requests it accepts. It imports the standard library and awsjson
// only.
//
// Source: docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
package eventbridge

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"tokenvendor/scripts/local/awsjson"
)

// Config configures a [Server].
type Config struct {
	// Region and Account are members of the events. Required.
	Region, Account string
}

// Rule sends events of a bus to a target.
type Rule struct {
	// Bus is the name of the bus. Required.
	Bus string
	// DetailType selects events by their type. Required.
	DetailType string
	// NotSource excludes the events of one source. Empty: none.
	NotSource string
	// Target gets the whole event, each in a new goroutine. Required.
	Target func(event []byte)
}

// Event is an event as a rule's target gets it.
type Event struct {
	Version    string          `json:"version"`
	ID         string          `json:"id"`
	DetailType string          `json:"detail-type"`
	Source     string          `json:"source"`
	Account    string          `json:"account"`
	Time       string          `json:"time"`
	Region     string          `json:"region"`
	Resources  []string        `json:"resources"`
	Detail     json.RawMessage `json:"detail"`
}

// Server is the endpoint. It is safe for concurrent use.
type Server struct {
	*awsjson.Endpoint
	cfg     Config
	targets sync.WaitGroup

	mu    sync.Mutex
	rules []Rule             // guarded by mu
	buses map[string][]Event // by name; guarded by mu
}

const (
	// maxEntries and maxBytes bound one PutEvents.
	maxEntries = 10
	maxBytes   = 1 << 20
)

// New returns a server without buses.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, buses: make(map[string][]Event)}
	s.Endpoint = awsjson.New(awsjson.Config{
		Version: "1.1", Target: "AWSEvents.", MaxBody: 4 * maxBytes,
		Operations: map[string]awsjson.Operation{"PutEvents": awsjson.Decode(s.putEvents)},
	})
	return s
}

// AddBus adds a bus.
func (s *Server) AddBus(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buses[name] = nil
}

// AddRule adds a rule for later events.
func (s *Server) AddRule(r Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = append(s.rules, r)
}

// Events returns all events of a bus, in order.
func (s *Server) Events(bus string) []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.buses[bus])
}

// Wait returns when all calls of targets have returned.
func (s *Server) Wait() { s.targets.Wait() }

// entry is one event of a request. Its raw members are refused, because ignoring them would
// be a hidden difference from AWS.
type entry struct {
	EventBusName, Source, DetailType, Detail string
	Time, Resources, TraceHeader             json.RawMessage
}

func (s *Server) putEvents(in struct{ Entries []entry }) (any, *awsjson.Error) {
	size := 0
	for _, e := range in.Entries {
		size += len(e.Source) + len(e.DetailType) + len(e.Detail)
	}
	if len(in.Entries) == 0 || len(in.Entries) > maxEntries || size > maxBytes {
		return nil, &awsjson.Error{Code: "ValidationException", Message: "there must be 1 to 10 entries of 1 MiB together"}
	}
	results, failed := make([]map[string]string, len(in.Entries)), 0
	for i, e := range in.Entries {
		id, code, message := s.put(e)
		if code != "" {
			failed++
			results[i] = map[string]string{"ErrorCode": code, "ErrorMessage": message}
			continue
		}
		results[i] = map[string]string{"EventId": id}
	}
	return map[string]any{"FailedEntryCount": failed, "Entries": results}, nil
}

// put puts one event on its bus. code is the error of this entry; empty: none.
func (s *Server) put(e entry) (id, code, message string) {
	var detail map[string]json.RawMessage
	switch {
	case e.Source == "" || e.DetailType == "" || e.Detail == "":
		return "", "InvalidArgument", "Source, DetailType and Detail are required"
	case e.Time != nil || e.Resources != nil || e.TraceHeader != nil:
		return "", "InvalidArgument", "Time, Resources and TraceHeader are not supported"
	case json.Unmarshal([]byte(e.Detail), &detail) != nil || detail == nil:
		return "", "MalformedDetail", "Detail is malformed"
	}
	bus := e.EventBusName[strings.LastIndexByte(e.EventBusName, '/')+1:]
	event := Event{
		Version: "0", ID: newID(), DetailType: e.DetailType, Source: e.Source, Account: s.cfg.Account, Time: time.Now().UTC().Format(time.RFC3339),
		Region: s.cfg.Region, Resources: []string{}, Detail: json.RawMessage(e.Detail),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.buses[bus]; !ok {
		return "", "ResourceNotFoundException", "the event bus does not exist"
	}
	s.buses[bus] = append(s.buses[bus], event)
	for _, r := range s.rules {
		if r.Bus == bus && r.DetailType == event.DetailType && r.NotSource != event.Source {
			s.targets.Go(func() { r.Target(encode(event)) })
		}
	}
	return event.ID, "", ""
}

// encode encodes an event without escapes for HTML, as AWS does.
func encode(e Event) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return bytes.TrimSpace(b.Bytes())
}

// newID returns a UUID.
func newID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b)
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}
