// Package eventbridge is the part of Amazon EventBridge that the token vendor uses, on
// one machine: event buses, rules by source and detail type, and the asynchronous
// invocation by which a rule's function gets its events.
//
// Package awsjson says what it lets in. Rules are made in Go. Events are gone with the
// process.
// It imports the standard library only.
//
// Source: docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
package eventbridge

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"tokenvendor/scripts/local/awsjson"
)

// Config configures a [Server].
type Config struct {
	// Region and Account make the events; required.
	Region, Account string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Rule says what happens to events on a bus.
type Rule struct {
	// Bus is its name; required.
	Bus string
	// DetailType and NotSource choose events; empty: any.
	DetailType, NotSource string
	// Target gets the whole event; required. Each call has a goroutine of its own.
	Target func(event []byte)
}

// Event is an event as rules get it.
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

// Server is the endpoint. It is safe for concurrent use. Of the [awsjson.Endpoint] it has
// ServeHTTP, Calls, Fail, Hang and Inject.
type Server struct {
	*awsjson.Endpoint
	cfg     Config
	targets sync.WaitGroup

	mu    sync.Mutex
	rules []Rule             // guarded by mu
	buses map[string][]Event // guarded by mu
}

const (
	// maxEntries and maxBytes bound one PutEvents.
	maxEntries = 10
	maxBytes   = 1 << 20
)

// New returns an EventBridge with the bus "default".
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Server{cfg: cfg, buses: map[string][]Event{"default": nil}}
	s.Endpoint = awsjson.New(awsjson.Config{
		Version: "1.1", Target: "AWSEvents.", MaxBody: 4 * maxBytes,
		Operations: map[string]awsjson.Operation{
			"PutEvents":      awsjson.Decode(s.putEvents),
			"ListEventBuses": awsjson.Decode(s.listEventBuses),
		},
	})
	return s
}

// AddBus adds a bus.
func (s *Server) AddBus(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buses[name] = nil
}

// AddRule adds a rule for events that come from now on.
func (s *Server) AddRule(r Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = append(s.rules, r)
}

// Events returns what was put on a bus, in order.
func (s *Server) Events(bus string) []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.buses[bus])
}

// Wait returns when every target that was called has returned.
func (s *Server) Wait() { s.targets.Wait() }

type entry struct {
	EventBusName, Source, DetailType, Detail string
	Resources                                []string
	Time                                     *float64
}

type apiError = awsjson.Error

func (s *Server) putEvents(in struct{ Entries []entry }) (any, *apiError) {
	size := 0
	for _, e := range in.Entries {
		size += len(e.Source) + len(e.DetailType) + len(e.Detail)
	}
	if len(in.Entries) == 0 || len(in.Entries) > maxEntries || size > maxBytes {
		return nil, &apiError{Code: "ValidationException", Message: "there must be 1 to 10 entries of 1 MiB together"}
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

func (s *Server) put(e entry) (id, code, message string) {
	var detail map[string]json.RawMessage
	switch {
	case e.Source == "" || e.DetailType == "" || e.Detail == "":
		return "", "InvalidArgument", "Source, DetailType and Detail are required"
	case json.Unmarshal([]byte(e.Detail), &detail) != nil || detail == nil:
		return "", "MalformedDetail", "Detail is malformed"
	}
	bus := e.EventBusName[strings.LastIndexByte(e.EventBusName, '/')+1:]
	if bus == "" {
		bus = "default"
	}
	when := s.cfg.Now()
	if e.Time != nil {
		when = time.Unix(int64(*e.Time), 0)
	}
	event := Event{
		Version: "0", ID: newID(), DetailType: e.DetailType, Source: e.Source, Account: s.cfg.Account, Time: when.UTC().Format(time.RFC3339),
		Region: s.cfg.Region, Resources: append([]string{}, e.Resources...), Detail: json.RawMessage(e.Detail),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.buses[bus]; !ok {
		return "", "ResourceNotFoundException", "the event bus does not exist"
	}
	s.buses[bus] = append(s.buses[bus], event)
	for _, r := range s.rules {
		if r.Bus == bus && (r.DetailType == "" || r.DetailType == event.DetailType) && (r.NotSource == "" || r.NotSource != event.Source) {
			s.targets.Go(func() { r.Target(encode(event)) })
		}
	}
	return event.ID, "", ""
}

func (s *Server) listEventBuses(struct{}) (any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(s.buses)) {
		list = append(list, map[string]string{"Name": name, "Arn": "arn:aws:events:" + s.cfg.Region + ":" + s.cfg.Account + ":event-bus/" + name})
	}
	return map[string]any{"EventBuses": list}, nil
}

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

// Async is the asynchronous invocation of a function by AWS Lambda.
//
// Source: docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
type Async struct {
	// Invoke invokes the function; kind and message are those of a function error, empty
	// when there was none. Required.
	Invoke func(ctx context.Context, event []byte) (kind, message string)
	// Wait is how long before the first repetition; the second takes twice as long. AWS
	// waits one minute and two.
	Wait time.Duration
	// Failed gets what failed three times; required.
	Failed func(event []byte, kind, message string)
}

// Run invokes, up to three times. When ctx ends meanwhile the event is lost.
func (a Async) Run(ctx context.Context, event []byte) {
	for try := range 3 {
		kind, message := a.Invoke(ctx, event)
		switch {
		case kind == "":
			return
		case try == 2:
			a.Failed(event, kind, message)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(a.Wait << try):
		}
	}
}
