package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/fleet/fleettest"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/token"
)

// played is a core and an AWS that do what they are told at once.
type played struct{}

func (played) Vend(_ context.Context, read func(*token.Request) error) (token.Grant, error) {
	if err := read(&token.Request{}); err != nil {
		return token.Grant{}, err
	}
	return token.Grant{}, fault.Refusal(fault.Denied, "")
}

func (played) Announce(_ context.Context, read func(*token.Order) error) (token.Announcement, error) {
	o := token.Order{Request: &token.Request{}}
	if err := read(&o); err != nil {
		return token.Announcement{}, err
	}
	if !registry.ValidName(o.Client) || o.ID == "" || o.Request.Caller == "" {
		panic("an order without client, id or caller")
	}
	return token.Announcement{Ordered: token.Ordered{ID: o.ID, Client: o.Client, Caller: o.For}, Claim: "claim"}, nil
}

func (played) Put(_ context.Context, _, _ string, detail []byte) error {
	if !json.Valid(detail) {
		panic("an event that is not JSON")
	}
	return nil
}

func (played) Send(_ context.Context, _ string, attributes map[string]string) error {
	for name, value := range attributes {
		if value == "" || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
			panic("the attribute " + name + " is not fit for a message")
		}
	}
	return nil
}

func (played) Read(_ context.Context, name string) ([]byte, time.Time, error) {
	if !strings.HasPrefix(name, targetPrefix) {
		panic("a secret that is no target")
	}
	return nil, time.Time{}, secret.ErrNotFound
}

func (played) Write(context.Context, string, string, []byte) error {
	panic("nobody was granted a token")
}

// FuzzInvoke: whatever bytes come, nothing panics, and the answer is JSON that holds
// nothing but what it should.
func FuzzInvoke(f *testing.F) {
	samples, err := filepath.Glob("../../events/batch/*.json")
	if err != nil || len(samples) < 4 {
		f.Fatal(samples, err)
	}
	for _, name := range samples {
		payload, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	for _, payload := range []string{"", "null", "{", `{"Records":[{"messageId":"m","eventSource":"aws:sqs","body":"{\"client\":\"a\",\"caller\":\"direct:b\"}"}]}`,
		`{"requests":[{"client":"a"},null,[],{"client":"b","claim":"c"}],"max_bytes":1024}`, `{"detail-type":"TokenRequested","id":"e","detail":{"requests":[{}]}}`,
		`{"schedule":[{"client":"a","deliver_to":"token-vendor/tokens/a"},{"client":"a","deliver_to":"token-vendor/tokens/../a"}],"id":"x"}`} {
		f.Add([]byte(payload))
	}
	var logs strings.Builder
	h := &handler{
		orders: orders{
			vendor: played{}, bus: played{}, count: func(string) {}, now: time.Now, log: slog.New(slog.NewJSONHandler(io.MultiWriter(&logs), nil)),
			fleet: fleet.New(fleet.Config{Table: &fleettest.Table{}, Keys: &fleettest.Keys{}}),
		},
		dead: played{}, targets: played{}, maxReceives: 5, flush: func() {},
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		ctx = lambdacontext.NewContext(ctx, &lambdacontext.LambdaContext{AwsRequestID: "id"})
		answer, err := h.Invoke(ctx, payload)
		if strings.Contains(logs.String(), "panic") {
			t.Fatal(logs.String())
		}
		if len(answer) > 0 && (err != nil || !json.Valid(answer)) {
			t.Errorf("answered %q with %v", answer, err)
		}
	})
}
