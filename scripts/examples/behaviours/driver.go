package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"tokenvendor/shared/client"
)

// command is what a library is to do. Its names are those of the JSON that a driver reads.
type command struct {
	Do string `json:"do"` // start, advance, token or request
	// URLs and Region are those of start, which begins without tokens and at the time zero.
	URLs   []string `json:"urls,omitempty"`
	Region string   `json:"region,omitempty"`
	// Seconds by which the clock advances.
	Seconds float64 `json:"seconds,omitempty"`
	// Client and Ask describe the token. Times is how many requests ask for it at once.
	Client string         `json:"client,omitempty"`
	Ask    map[string]any `json:"ask,omitempty"`
	Times  int            `json:"times,omitempty"`
	// Beside describes the token that one more request asks for at once; nil: there is none.
	Beside map[string]any `json:"beside,omitempty"`
	// URL, Method, Body and Stream are those of a request of an API. Stream: the body cannot be
	// read again.
	URL    string `json:"url,omitempty"`
	Method string `json:"method,omitempty"`
	Body   string `json:"body,omitempty"`
	Stream bool   `json:"stream,omitempty"`
}

// result is what a library did.
type result struct {
	// Tokens are the SHA-256 of the tokens, in hex.
	Tokens []string `json:"tokens"`
	// Error is nil if there was none.
	Error *failure `json:"error"`
	// Status is that of the API's answer.
	Status int `json:"status"`
	// Shown is the token or the error as a program would print it.
	Shown string `json:"shown"`
}

type failure struct {
	Status     int     `json:"status"`
	Code       string  `json:"code"`
	RetryAfter float64 `json:"retry_after"` // seconds
}

// driver lets a library carry out a command.
type driver interface {
	do(ctx context.Context, c command) (result, error)
}

// process is a driver in another language: it reads a command in each line of its standard
// input and writes the result as a line.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startProcess(ctx context.Context, args, env []string) (*process, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // the user's
	cmd.Env, cmd.Stderr = append(os.Environ(), env...), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &process{cmd, in, bufio.NewReader(out)}, cmd.Start()
}

func (p *process) do(_ context.Context, c command) (r result, err error) {
	if err := json.NewEncoder(p.in).Encode(c); err != nil {
		return r, fmt.Errorf("the driver does not read: %w", err)
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return r, fmt.Errorf("the driver has ended: %w", err)
	}
	return r, json.Unmarshal(line, &r)
}

func (p *process) close() error { return errors.Join(p.in.Close(), p.cmd.Wait()) }

// kit is the driver of shared/client.
type kit struct {
	credentials aws.CredentialsProvider
	client      *client.Client
	advanced    *atomic.Int64 // in nanoseconds
}

func (k *kit) do(ctx context.Context, c command) (r result, err error) {
	switch c.Do {
	case "start":
		advanced := new(atomic.Int64)
		k.advanced = advanced
		k.client, err = client.New(client.Config{
			URLs: c.URLs, AWS: aws.Config{Region: c.Region, Credentials: k.credentials},
			Now: func() time.Time { return time.Now().Add(time.Duration(advanced.Load())) },
		})
	case "advance":
		k.advanced.Add(int64(c.Seconds * float64(time.Second)))
	case "token":
		r = k.token(ctx, c)
	case "request":
		r, err = k.request(ctx, c)
	}
	return r, err
}

func (c *command) request() client.Request {
	r := client.Request{Client: c.Client}
	if scope, ok := c.Ask["scope"].(string); ok {
		r.Scope = strings.Fields(scope)
	}
	if seconds, ok := c.Ask["min_ttl"].(float64); ok {
		r.MinTTL = time.Duration(seconds) * time.Second
	}
	return r
}

func (k *kit) token(ctx context.Context, c command) (r result) {
	requests := slices.Repeat([]client.Request{c.request()}, max(c.Times, 1))
	if c.Beside != nil {
		beside := command{Client: c.Client, Ask: c.Beside}
		requests = append(requests, beside.request())
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, request := range requests {
		all.Go(func() {
			t, err := k.client.Token(ctx, request)
			mu.Lock()
			defer mu.Unlock()
			var e *client.Error
			if errors.As(err, &e) {
				r.Error = &failure{e.Status, e.Code, e.RetryAfter.Seconds()}
				r.Shown += fmt.Sprintf("%v %+v", e, e)
				return
			}
			r.Tokens = append(r.Tokens, t.Fingerprint())
			r.Shown += fmt.Sprintf("%v %+v %#v", t, t, t)
		})
	}
	all.Wait()
	return r
}

func (k *kit) request(ctx context.Context, c command) (r result, err error) {
	var body io.Reader
	if c.Body != "" {
		body = strings.NewReader(c.Body)
	}
	if c.Stream {
		body = struct{ io.Reader }{body} // without GetBody
	}
	req, err := http.NewRequestWithContext(ctx, c.Method, c.URL, body)
	if err != nil {
		return r, err
	}
	resp, err := k.client.HTTPClient(c.request()).Do(req)
	if err != nil {
		return r, err
	}
	return result{Status: resp.StatusCode}, resp.Body.Close()
}
