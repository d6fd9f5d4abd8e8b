package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"tokenvendor/shared/fleet"
	"tokenvendor/shared/fleet/fleettest"
	"tokenvendor/shared/secret"
)

// strictAWS is a bus, a queue and secrets that have no value. Their calls panic if an argument
// is not valid.
type strictAWS struct{}

func (strictAWS) Put(_ context.Context, _, _ string, detail []byte) error {
	if !json.Valid(detail) {
		panic("the event is not JSON")
	}
	return nil
}

func (strictAWS) Send(_ context.Context, _ string, attributes map[string]string) error {
	for name, value := range attributes {
		if value == "" || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
			panic("the attribute " + name + " is empty or not ASCII")
		}
	}
	return nil
}

func (strictAWS) Read(_ context.Context, name string) ([]byte, time.Time, error) {
	if !strings.HasPrefix(name, targetPrefix) {
		panic("the secret is not a target")
	}
	return nil, time.Time{}, secret.ErrNotFound
}

func (strictAWS) Write(context.Context, string, string, []byte) error {
	panic("a write without a grant")
}

// No payload causes a panic, and every answer is JSON.
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
		`{"schedule":[{"client":"a","deliver_to":"token-vendor/tokens/a","min_ttl":"1200"},{"client":"a","deliver_to":"token-vendor/tokens/../a"}],"id":"x"}`} {
		f.Add([]byte(payload))
	}
	var logs strings.Builder
	h := &handler{
		orders: orders{
			vendor: strictVendor{}, bus: strictAWS{}, count: func(string) {}, now: time.Now, log: slog.New(slog.NewJSONHandler(&logs, nil)),
			fleet: fleet.New(fleet.Config{Table: &fleettest.Table{}, Keys: &fleettest.Keys{}}),
		},
		dead: strictAWS{}, targets: strictAWS{}, targetPrefix: targetPrefix, maxReceives: 5, flush: func() {},
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
			t.Errorf("got answer %q, %v; want JSON or an error", answer, err)
		}
	})
}
