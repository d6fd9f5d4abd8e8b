package endpoint_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"tokenvendor/scripts/vendctl/endpoint"
	"tokenvendor/shared/client"
)

// post sends a token request over a connection that is kept.
func post(b *testing.B, url string) {
	b.Helper()
	resp, err := http.Post(url+"/oauth2/token", "application/x-www-form-urlencoded", strings.NewReader(good().Encode())) //nolint:noctx // a benchmark
	if err != nil {
		b.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b.Fatalf("got %d", resp.StatusCode)
	}
}

// BenchmarkHit is a token that is in memory, over HTTP.
func BenchmarkHit(b *testing.B) {
	v := &vendor{}
	v.Server = httptest.NewServer(v)
	defer v.Close()
	tokens, err := client.New(client.Config{URLs: []string{v.URL + "/prod/token"}, AWS: aws.Config{
		Region: "eu-central-1", Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIA", SecretAccessKey: awsCanary}, nil
		}),
	}})
	if err != nil {
		b.Fatal(err)
	}
	handler, err := endpoint.New(endpoint.Config{Tokens: tokens, Secret: secretCanary})
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	b.ReportAllocs()
	for b.Loop() {
		post(b, server.URL)
	}
}

// BenchmarkConstant is a handler that answers with a constant of the same length.
func BenchmarkConstant(b *testing.B) {
	answer := []byte(strings.Repeat("x", 160))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(answer)
	}))
	defer server.Close()
	b.ReportAllocs()
	for b.Loop() {
		post(b, server.URL)
	}
}
