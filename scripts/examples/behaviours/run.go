package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// behaviour is one row of the table.
type behaviour struct {
	Name string `json:"behaviour"`
	// FirstURL replaces the first URL of the vendor; empty: that of the stage.
	FirstURL string `json:"first_url"`
	Steps    []step `json:"steps"`
}

// scope returns the scope of the i-th behaviour. Those that report tokens need one of their own,
// because the vendor replaces a token once in 30 seconds; it limits how many new ones there may be.
func (b *behaviour) scope(i int) string {
	if slices.ContainsFunc(b.Steps, func(s step) bool { return s.Do == "api" }) {
		return fmt.Sprint("behaviour-", i)
	}
	return "behaviour"
}

// step is what is done, and what must be observed. Counts that are nil are not checked.
type step struct {
	Do string `json:"do"` // token, request, wait, vendor or api

	// Of token and request.
	Client string         `json:"client"` // empty: that of the run
	Ask    map[string]any `json:"ask"`    // nil: a scope of this behaviour's own. In texts $ stands for that
	Times  int            `json:"times"`
	Beside map[string]any `json:"beside"` // of one more request for a token at once; nil: there is none
	Method string         `json:"method"` // empty: GET
	Body   string         `json:"body"`
	Stream bool           `json:"stream"`
	// Of wait: until the vendor's refresh_after or expires_in, or for seconds.
	Until   string  `json:"until"`
	Seconds float64 `json:"seconds"`
	// Of vendor and api.
	First  string `json:"first"`
	Second string `json:"second"`
	Mode   string `json:"mode"`

	// Want is the token: new, same (as before), first (of this behaviour), any, or error with
	// Status, Code and the least RetryAfter. Status is also that of the API's answer.
	Want       string  `json:"want"`
	Status     int     `json:"status"`
	Code       string  `json:"code"`
	RetryAfter float64 `json:"retry_after"`
	// Calls and SecondCalls are those of the vendor's URLs, Requests those of the API, and
	// Elsewhere those of the server that it redirects to.
	Calls       *int `json:"calls"`
	SecondCalls *int `json:"second_calls"`
	Requests    *int `json:"requests"`
	Elsewhere   *int `json:"elsewhere"`
	Posts       *int `json:"posts"` // requests of the API with the method POST
	// Sent is the body of the last call; nil: it is not checked. Reports: it names a token as
	// rejected.
	Sent    map[string]any `json:"sent"`
	Reports bool           `json:"reports"`
}

// runner runs one behaviour with one library.
type runner struct {
	stage  *stage
	driver driver
	client string
	scope  string // of this behaviour
	// first and last are fingerprints of tokens.
	first, last string
	// now and received are seconds on the library's clock: now, and when the last token came.
	now, received float64
}

// run returns what differs from the behaviour; empty: nothing.
func (r *runner) run(ctx context.Context, b behaviour, region string) error {
	r.stage.reset()
	if _, err := r.driver.do(ctx, command{Do: "start", URLs: []string{cmp.Or(b.FirstURL, r.stage.first.url), r.stage.second.url}, Region: region}); err != nil {
		return err
	}
	for i, s := range b.Steps {
		if err := r.step(ctx, s); err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, s.Do, err)
		}
	}
	return nil
}

func (r *runner) step(ctx context.Context, s step) error {
	switch s.Do {
	case "vendor":
		if s.First != "" {
			r.stage.first.set(s.First)
		}
		if s.Second != "" {
			r.stage.second.set(s.Second)
		}
		return nil
	case "api":
		r.stage.api.set(s.Mode)
		return nil
	case "wait":
		return r.wait(ctx, s)
	case "token", "request":
		return r.ask(ctx, s)
	}
	return fmt.Errorf("there is no such step")
}

// wait lets the library's clock advance.
func (r *runner) wait(ctx context.Context, s step) error {
	seconds := s.Seconds
	switch s.Until {
	case "refresh_after":
		seconds = r.received + r.stage.first.refreshAfter + 1 - r.now
	case "expires_in":
		seconds = r.received + r.stage.first.expiresIn + 1 - r.now
	}
	r.now += seconds
	_, err := r.driver.do(ctx, command{Do: "advance", Seconds: seconds})
	return err
}

// counts are what the stage has counted.
type counts struct{ calls, second, requests, elsewhere, posts int }

func (s *stage) counts() counts {
	s.first.mu.Lock()
	defer s.first.mu.Unlock()
	s.second.mu.Lock()
	defer s.second.mu.Unlock()
	s.api.mu.Lock()
	defer s.api.mu.Unlock()
	s.elsewhere.mu.Lock()
	defer s.elsewhere.mu.Unlock()
	return counts{s.first.calls, s.second.calls, s.api.requests, s.elsewhere.requests, s.api.posts}
}

// ask lets the library get tokens or call the API, and checks what is observed.
func (r *runner) ask(ctx context.Context, s step) error {
	before := r.stage.counts()
	c := command{
		Do: s.Do, Client: s.Client, Ask: r.fill(s.Ask), Times: s.Times,
		URL: r.stage.api.server.URL, Method: s.Method, Body: s.Body, Stream: s.Stream,
	}
	count := max(s.Times, 1)
	if s.Beside != nil {
		c.Beside = r.fill(s.Beside)
		count++
	}
	if c.Client == "" {
		c.Client = r.client
	}
	if c.Method == "" {
		c.Method = "GET"
	}
	got, err := r.driver.do(ctx, c)
	if err != nil {
		return err
	}
	// A token that is used meanwhile may be renewed in the background.
	var problem error
	for begun := time.Now(); time.Since(begun) < 3*time.Second; time.Sleep(10 * time.Millisecond) {
		if problem = r.stage.differs(before, s); problem == nil {
			break
		}
	}
	if problem == nil {
		problem = r.checkSent(s)
	}
	if problem == nil {
		problem = r.checkShown(got.Shown)
	}
	if problem != nil {
		return problem
	}
	if s.Do == "request" {
		if got.Status != s.Status {
			return fmt.Errorf("got status %d of the API, want %d", got.Status, s.Status)
		}
		return nil
	}
	return r.checkToken(got, s, count, r.stage.counts() != before)
}

// fill returns what is asked, in which $ stands for the scope of this behaviour.
func (r *runner) fill(ask map[string]any) map[string]any {
	if ask == nil {
		return map[string]any{"scope": r.scope}
	}
	filled := make(map[string]any)
	for name, value := range ask {
		if text, ok := value.(string); ok {
			value = strings.ReplaceAll(text, "$", r.scope)
		}
		filled[name] = value
	}
	return filled
}

// differs compares what happened on the stage with what is wanted.
func (s *stage) differs(before counts, want step) error {
	now := s.counts()
	for _, check := range []struct {
		what string
		got  int
		want *int
	}{
		{"calls of the vendor", now.calls - before.calls, want.Calls},
		{"calls of the second URL", now.second - before.second, want.SecondCalls},
		{"requests of the API", now.requests - before.requests, want.Requests},
		{"requests elsewhere", now.elsewhere - before.elsewhere, want.Elsewhere},
		{"requests of the API with POST", now.posts - before.posts, want.Posts},
	} {
		if check.want != nil && check.got != *check.want {
			return fmt.Errorf("got %d %s, want %d", check.got, check.what, *check.want)
		}
	}
	return nil
}

// checkSent checks the body of the last call, and those of the API's requests.
func (r *runner) checkSent(s step) error {
	d := r.stage.first
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.Sent != nil {
		if want := r.fill(s.Sent); !reflect.DeepEqual(d.sent, want) {
			return fmt.Errorf("the call has %v, want %v", d.sent, want)
		}
	}
	t := r.stage.api
	t.mu.Lock()
	defer t.mu.Unlock()
	if rejected, _ := d.sent["rejected"].(string); s.Reports && !t.seen[rejected] {
		return fmt.Errorf("the call does not report the refused token")
	}
	for _, body := range t.bodies[len(t.bodies)-valueOf(s.Requests):] {
		if body != s.Body {
			return fmt.Errorf("the API got %q, want %q", body, s.Body)
		}
	}
	r.stage.elsewhere.mu.Lock()
	defer r.stage.elsewhere.mu.Unlock()
	if r.stage.elsewhere.got {
		return fmt.Errorf("another server got the token")
	}
	return nil
}

func valueOf(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}

// checkShown checks that a printed token or error shows no token.
func (r *runner) checkShown(shown string) error {
	for _, d := range []*door{r.stage.first, r.stage.second} {
		d.mu.Lock()
		defer d.mu.Unlock()
		if slices.ContainsFunc(d.tokens, func(token string) bool { return strings.Contains(shown, token) }) {
			return fmt.Errorf("a printed token or error shows a token")
		}
	}
	return nil
}

// checkToken checks what the library returned, which should be count tokens; called: it called the
// vendor.
func (r *runner) checkToken(got result, s step, count int, called bool) error {
	if (got.Error != nil) != (s.Want == "error") && s.Want != "any" {
		text, _ := json.Marshal(got.Error)
		return fmt.Errorf("got the error %s, want a token: %v", text, s.Want != "error")
	}
	if got.Error != nil {
		return got.Error.differs(s)
	}
	tokens := slices.Compact(got.Tokens)
	if len(tokens) != 1 || len(got.Tokens) != count {
		return fmt.Errorf("got %d tokens, %d of them different", len(got.Tokens), len(tokens))
	}
	previous := r.last
	r.last = tokens[0]
	if called {
		r.received = r.now
	}
	if r.first == "" {
		r.first = r.last
	}
	switch {
	case s.Want == "new" && r.last == previous, s.Want == "same" && r.last != previous, s.Want == "first" && r.last != r.first:
		return fmt.Errorf("got another token than wanted: %s", s.Want)
	}
	return nil
}

// differs compares an error with what is wanted.
func (f *failure) differs(s step) error {
	if s.Want == "error" && (f.Status != s.Status || s.Code != "" && f.Code != s.Code || f.RetryAfter < s.RetryAfter) {
		return fmt.Errorf("got an error of status %d, %q, retry after %v s; want %d, %q, %v s at least", f.Status, f.Code, f.RetryAfter, s.Status, s.Code, s.RetryAfter)
	}
	return nil
}
