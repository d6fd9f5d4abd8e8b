package sts

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

func start(t *testing.T) (*Server, *awssts.Client) {
	t.Helper()
	s, err := New(Config{Region: "eu-central-1", Account: "123456789012", Role: "token"})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, awssts.New(awssts.Options{
		Region: "eu-central-1", BaseEndpoint: &server.URL, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("id", "key", ""),
	})
}

func input() *awssts.GetWebIdentityTokenInput {
	return &awssts.GetWebIdentityTokenInput{
		Audience: []string{"https://as.example"}, SigningAlgorithm: aws.String("RS256"), DurationSeconds: aws.Int32(60),
		Tags: []types.Tag{{Key: aws.String("token-vendor-client"), Value: aws.String("billing")}},
	}
}

// TestTokens: AWS's client gets tokens that somebody else's library verifies.
func TestTokens(t *testing.T) {
	s, client := start(t)
	for _, algorithm := range []string{"RS256", "ES384"} {
		in := input()
		in.SigningAlgorithm = &algorithm
		out, err := client.GetWebIdentityToken(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		token, err := jwt.ParseSigned(*out.WebIdentityToken, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(algorithm)})
		if err != nil {
			t.Fatal(err)
		}
		var claims struct {
			jwt.Claims
			AWS struct {
				Account string            `json:"aws_account"`
				Region  string            `json:"source_region"`
				Tags    map[string]string `json:"request_tags"`
			} `json:"https://sts.amazonaws.com/"`
		}
		if err := token.Claims(s.Keys()[token.Headers[0].KeyID], &claims); err != nil {
			t.Fatal(err)
		}
		if claims.Issuer != s.Issuer() || claims.Subject != "arn:aws:iam::123456789012:role/token" || !reflect.DeepEqual([]string(claims.Audience), in.Audience) ||
			claims.ID == "" || claims.Expiry.Time().Sub(claims.IssuedAt.Time()) != time.Minute || !claims.Expiry.Time().Equal(*out.Expiration) ||
			claims.AWS.Tags["token-vendor-client"] != "billing" || claims.AWS.Account != "123456789012" || claims.AWS.Region != "eu-central-1" {
			t.Errorf("the claims are %+v", claims)
		}
	}
	if got := s.Issued(); len(got) != 2 || got[0].Duration != time.Minute || got[1].Algorithm != "ES384" || got[0].Tags["token-vendor-client"] != "billing" {
		t.Errorf("issued %+v", got)
	}
	identity, err := client.GetCallerIdentity(t.Context(), nil)
	if err != nil || *identity.Account != "123456789012" {
		t.Errorf("got %+v, %v", identity, err)
	}
}

// TestRefused: what AWS refuses, by AWS's codes.
func TestRefused(t *testing.T) {
	s, client := start(t)
	code := func(err error) string {
		var api smithy.APIError
		if !errors.As(err, &api) {
			t.Fatalf("not an error of the API: %v", err)
		}
		return api.ErrorCode()
	}
	for name, change := range map[string]func(*awssts.GetWebIdentityTokenInput){
		"no audience":   func(in *awssts.GetWebIdentityTokenInput) { in.Audience = []string{} },
		"empty":         func(in *awssts.GetWebIdentityTokenInput) { in.Audience = []string{""} },
		"long audience": func(in *awssts.GetWebIdentityTokenInput) { in.Audience = []string{strings.Repeat("a", 1001)} },
		"11 audiences":  func(in *awssts.GetWebIdentityTokenInput) { in.Audience = strings.Split("a,b,c,d,e,f,g,h,i,j,k", ",") },
		"algorithm":     func(in *awssts.GetWebIdentityTokenInput) { in.SigningAlgorithm = aws.String("PS256") },
		"short":         func(in *awssts.GetWebIdentityTokenInput) { in.DurationSeconds = aws.Int32(59) },
		"long":          func(in *awssts.GetWebIdentityTokenInput) { in.DurationSeconds = aws.Int32(3601) },
		"tag twice":     func(in *awssts.GetWebIdentityTokenInput) { in.Tags = append(in.Tags, in.Tags[0]) },
		"long tag":      func(in *awssts.GetWebIdentityTokenInput) { in.Tags[0].Value = aws.String(strings.Repeat("a", 257)) },
	} {
		in := input()
		change(in)
		if _, err := client.GetWebIdentityToken(t.Context(), in); code(err) != "ValidationError" {
			t.Errorf("%s: got %v", name, err)
		}
	}
	s.Disable(true)
	_, err := client.GetWebIdentityToken(t.Context(), input())
	var disabled *types.OutboundWebIdentityFederationDisabledException
	if !errors.As(err, &disabled) {
		t.Errorf("disabled: got %v", err)
	}
	s.Disable(false)
	s.Fail(1, "Throttling")
	if _, err := client.GetWebIdentityToken(t.Context(), input()); code(err) != "Throttling" {
		t.Errorf("throttled: got %v", err)
	}
	if _, err := client.GetWebIdentityToken(t.Context(), input()); err != nil || len(s.Issued()) != 1 {
		t.Errorf("after the failures: %v, %d issued", err, len(s.Issued()))
	}
	for name, request := range map[string][2]string{
		"unsigned": {"", ""}, "browser": {"AWS4-HMAC-SHA256 x", "https://evil.example"}, "no form": {"AWS4-HMAC-SHA256 x", "%zz"}, "other action": {"AWS4-HMAC-SHA256 x", "Action=AssumeRole"},
	} {
		r := httptest.NewRequest("POST", "http://localhost/", strings.NewReader(request[1]))
		if request[0] != "" {
			r.Header.Set("Authorization", request[0])
		}
		if name == "browser" {
			r.Header.Set("Origin", request[1])
		}
		w := httptest.NewRecorder()
		if s.ServeHTTP(w, r); w.Code < 400 {
			t.Errorf("%s: status %d", name, w.Code)
		}
	}
}

func TestConcurrently(t *testing.T) {
	s, client := start(t)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := client.GetWebIdentityToken(context.WithoutCancel(t.Context()), input()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(s.Issued()) != 20 {
		t.Errorf("%d issued", len(s.Issued()))
	}
}

func FuzzRequest(f *testing.F) {
	f.Add("Action=GetWebIdentityToken&Audience.member.1=a&SigningAlgorithm=RS256&Tags.member.1.Key=k&Tags.member.1.Value=v")
	s, err := New(Config{Region: "eu-central-1", Account: "123456789012", Role: "token"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest("POST", "http://localhost/", strings.NewReader(body))
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 x")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if strings.Contains(w.Body.String(), "<WebIdentityToken>") != (w.Code == 200 && strings.Contains(w.Body.String(), "GetWebIdentityTokenResult")) || json.Valid(w.Body.Bytes()) {
			t.Errorf("status %d", w.Code)
		}
	})
}
