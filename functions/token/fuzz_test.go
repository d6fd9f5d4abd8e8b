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
	"unicode/utf8"

	"tokenvendor/shared/token"
)

// FuzzInvoke: whatever bytes come, the answer is one of the contract.
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
	h := testHandler(vendorFunc(func(_ context.Context, r token.Request) (token.Grant, error) {
		if r.Client == "" {
			panic("a request without a client")
		}
		return grant, nil
	}), gate{}, new(output))
	h.log = slog.New(slog.NewJSONHandler(io.Discard, nil))
	f.Fuzz(func(t *testing.T, payload []byte) {
		var probe map[string]json.RawMessage
		_ = json.Unmarshal(payload, &probe)
		r := call(t, h, lambdaContext(t.Context(), "id", ""), "id", payload)
		direct := len(probe["requestContext"]) == 0 || string(probe["requestContext"]) == "null"
		a := readAnswer(t, r, direct)
		if a.status >= 500 || a.code == "server_error" {
			t.Errorf("got %d %s: a caller must not be able to make that", a.status, a.code)
		}
	})
}

// FuzzAppendString: the writer of JSON strings against the standard library's
// reader.
func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "a", `"`, `\`, "\x00\x1f\x7f", "ü\u2028", `{"access_token":"a\"b"}`, strings.Repeat("\n", 100)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			t.Skip("the writer's input is UTF-8")
		}
		var got string
		encoded := appendString([]byte("x"), []byte(s))
		if err := json.Unmarshal(encoded[1:], &got); err != nil || got != s {
			t.Errorf("%q became %q, %v", s, got, err)
		}
	})
}
