package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"tokenvendor/shared/token"
)

// Every payload gets an answer of the contract, and none causes an error of the server.
func FuzzInvoke(f *testing.F) {
	samples, err := filepath.Glob("../../events/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range samples {
		payload, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	for _, payload := range []string{
		"", "null", "{", `{"client":"billing"}`, `{"requests":[{"client":"a"},null]}`, `{"requestContext":{}}`, `{"requestConteXt":{"http":{}},"version":"2.0"}`,
		`{"requestContext":{"http":{"method":"POST"}},"version":"2.0","rawPath":"/token/a"}`,
		`{"requestContext":{"identity":{"userArn":"arn:aws:iam::111122223333:root"},"path":"/token/a"},"httpMethod":"POST","path":"/token/a","pathParameters":{"client":"a"},"body":"scope=a","headers":{"content-type":"application/x-www-form-urlencoded"}}`,
	} {
		f.Add([]byte(payload))
	}
	grant := newEnv(f).grant(f, "billing")
	h := fakeHandler(func(_ context.Context, r token.Request) (token.Grant, error) {
		if r.Client == "" {
			panic("a request without a client")
		}
		return grant, nil
	}, gate{}, io.Discard)
	f.Fuzz(func(t *testing.T, payload []byte) {
		var probe map[string]json.RawMessage
		_ = json.Unmarshal(payload, &probe)
		r := call(t, h, lambdaContext(t.Context(), "id", ""), "id", payload)
		direct := len(probe["requestContext"]) == 0 || string(probe["requestContext"]) == "null"
		a := readAnswer(t, r, direct)
		if a.status >= 500 || a.code == "server_error" {
			t.Errorf("got %d %s, want no error of the server", a.status, a.code)
		}
	})
}
