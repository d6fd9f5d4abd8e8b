package sts

import (
	"encoding/json"
	"errors"
	"net/http"
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

// awsClaims is the claim that AWS adds to the registered ones.
type awsClaims struct {
	Account string            `json:"aws_account"`
	Region  string            `json:"source_region"`
	Tags    map[string]string `json:"request_tags"`
}

// TestTokensVerify: AWS's client gets tokens that a third party's library verifies.
func TestTokensVerify(t *testing.T) {
	s, client := start(t)
	var issued []Issued
	for _, algorithm := range []string{"RS256", "ES384"} {
		in := input()
		in.SigningAlgorithm = &algorithm
		before := time.Now().Truncate(time.Second)
		out, err := client.GetWebIdentityToken(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		token, err := jwt.ParseSigned(*out.WebIdentityToken, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(algorithm)})
		if err != nil {
			t.Fatal(err)
		}
		var claims jwt.Claims
		var own struct {
			AWS awsClaims `json:"https://sts.amazonaws.com/"`
		}
		if err := token.Claims(s.Keys()[token.Headers[0].KeyID], &claims, &own); err != nil {
			t.Fatal(err)
		}
		if claims.ID == "" || claims.IssuedAt.Time().Before(before) || claims.Expiry.Time().Sub(claims.IssuedAt.Time()) != time.Minute || !claims.Expiry.Time().Equal(*out.Expiration) {
			t.Errorf("got the claims %+v", claims)
		}
		claims.ID, claims.IssuedAt, claims.Expiry = "", nil, nil
		if want := (jwt.Claims{Issuer: s.Issuer(), Subject: "arn:aws:iam::123456789012:role/token", Audience: in.Audience}); !reflect.DeepEqual(claims, want) {
			t.Errorf("got the claims %+v, want %+v", claims, want)
		}
		tags := map[string]string{"token-vendor-client": "billing"}
		if want := (awsClaims{"123456789012", "eu-central-1", tags}); !reflect.DeepEqual(own.AWS, want) {
			t.Errorf("got the claims %+v, want %+v", own.AWS, want)
		}
		issued = append(issued, Issued{in.Audience, algorithm, time.Minute, tags})
	}
	if got := s.Issued(); !reflect.DeepEqual(got, issued) {
		t.Errorf("Issued returns %+v, want %+v", got, issued)
	}
}

// codeOf returns the code of an error of the API.
func codeOf(t *testing.T, err error) string {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) {
		t.Fatalf("got %v, want an error of the API", err)
	}
	return api.ErrorCode()
}

func TestRefusesWhatSTSRefuses(t *testing.T) {
	s, client := start(t)
	for name, change := range map[string]func(*awssts.GetWebIdentityTokenInput){
		"no audience":    func(in *awssts.GetWebIdentityTokenInput) { in.Audience = []string{} },
		"empty audience": func(in *awssts.GetWebIdentityTokenInput) { in.Audience = []string{""} },
		"long audience":  func(in *awssts.GetWebIdentityTokenInput) { in.Audience = []string{strings.Repeat("a", 1001)} },
		"algorithm":      func(in *awssts.GetWebIdentityTokenInput) { in.SigningAlgorithm = aws.String("PS256") },
		"short":          func(in *awssts.GetWebIdentityTokenInput) { in.DurationSeconds = aws.Int32(59) },
		"long":           func(in *awssts.GetWebIdentityTokenInput) { in.DurationSeconds = aws.Int32(3601) },
		"long tag":       func(in *awssts.GetWebIdentityTokenInput) { in.Tags[0].Value = aws.String(strings.Repeat("a", 257)) },
		"second tag, which is not supported": func(in *awssts.GetWebIdentityTokenInput) {
			in.Tags = append(in.Tags, types.Tag{Key: aws.String("k"), Value: aws.String("v")})
		},
	} {
		in := input()
		change(in)
		if _, err := client.GetWebIdentityToken(t.Context(), in); codeOf(t, err) != "ValidationError" {
			t.Errorf("%s: got %v, want ValidationError", name, err)
		}
	}
	if _, err := client.GetCallerIdentity(t.Context(), nil); codeOf(t, err) != "InvalidAction" || !strings.Contains(err.Error(), "GetCallerIdentity") {
		t.Errorf("got %v, want InvalidAction with the name of the operation", err)
	}
	if n := len(s.Issued()); n != 0 {
		t.Errorf("%d tokens were issued, want none", n)
	}
}

func TestDisableAndFail(t *testing.T) {
	s, client := start(t)
	s.Disable(true)
	_, err := client.GetWebIdentityToken(t.Context(), input())
	var disabled *types.OutboundWebIdentityFederationDisabledException
	if !errors.As(err, &disabled) {
		t.Errorf("disabled: got %v", err)
	}
	s.Disable(false)
	s.Fail(1, "Throttling")
	if _, err := client.GetWebIdentityToken(t.Context(), input()); codeOf(t, err) != "Throttling" {
		t.Errorf("got %v, want Throttling", err)
	}
	if _, err := client.GetWebIdentityToken(t.Context(), input()); err != nil || len(s.Issued()) != 1 {
		t.Errorf("after the failures: %v, %d issued, want 1", err, len(s.Issued()))
	}
}

// request returns a signed request.
func request(body string) *http.Request {
	r := httptest.NewRequest("POST", "http://localhost/", strings.NewReader(body))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 x")
	return r
}

func TestRefusesUnsignedRequestsAndBrowsers(t *testing.T) {
	s, _ := start(t)
	unsigned, browser, moved := request(""), request(""), request("")
	unsigned.Header.Del("Authorization")
	browser.Header.Set("Origin", "https://evil.example")
	moved.Host = "evil.example"
	for name, tt := range map[string]struct {
		r      *http.Request
		status int
	}{"unsigned": {unsigned, 403}, "browser": {browser, 403}, "another host": {moved, 403}, "not a form": {request("%zz"), 400}} {
		w := httptest.NewRecorder()
		if s.ServeHTTP(w, tt.r); w.Code != tt.status {
			t.Errorf("%s: got status %d, want %d", name, w.Code, tt.status)
		}
	}
}

func TestConcurrentCallsGetATokenEach(t *testing.T) {
	s, client := start(t)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := client.GetWebIdentityToken(t.Context(), input()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := len(s.Issued()); n != 20 {
		t.Errorf("%d tokens were issued, want 20", n)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add("Action=GetWebIdentityToken&Audience.member.1=a&SigningAlgorithm=RS256&DurationSeconds=60&Tags.member.1.Key=k&Tags.member.1.Value=v")
	s, err := New(Config{Region: "eu-central-1", Account: "123456789012", Role: "token"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string) {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, request(body))
		if strings.Contains(w.Body.String(), "<WebIdentityToken>") != (w.Code == 200 && strings.Contains(w.Body.String(), "GetWebIdentityTokenResult")) || json.Valid(w.Body.Bytes()) {
			t.Errorf("status %d", w.Code)
		}
	})
}
