// Command bare is the least that a Go function can do to vend a token: aws-lambda-go and two
// calls of net/http, without an SDK. It signs nothing, which only the benchmark's Secrets
// Manager accepts. The token function's cold start at a full core is compared with it.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

// vendor keeps a token for each client. It is safe for concurrent use.
type vendor struct {
	endpoint, prefix string

	mu     sync.Mutex
	tokens map[string]kept // by client; guarded by mu
}

// kept is the body of an answer until the token expires.
type kept struct {
	body   string
	expiry time.Time
}

type document struct {
	TokenEndpoint string `json:"token_endpoint"`
	ClientID      string `json:"client_id"`
	ClientSecret  string `json:"client_secret"`
}

func main() {
	v := &vendor{endpoint: os.Getenv("AWS_ENDPOINT_URL_SECRETS_MANAGER"), prefix: os.Getenv("SECRET_PREFIX"), tokens: make(map[string]kept)}
	lambda.Start(v.handle)
}

func (v *vendor) handle(ctx context.Context, event events.APIGatewayProxyRequest) (events.APIGatewayProxyResponse, error) {
	body, err := v.token(ctx, event.PathParameters["client"])
	if err != nil {
		return events.APIGatewayProxyResponse{StatusCode: http.StatusBadGateway}, nil
	}
	return events.APIGatewayProxyResponse{StatusCode: http.StatusOK, Headers: map[string]string{"Content-Type": "application/json"}, Body: body}, nil
}

func (v *vendor) token(ctx context.Context, client string) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if t := v.tokens[client]; time.Now().Before(t.expiry) {
		return t.body, nil
	}
	var secret struct{ SecretString string }
	if _, err := call(ctx, v.endpoint, map[string]string{
		"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "secretsmanager.GetSecretValue", "Authorization": "AWS4-HMAC-SHA256 Credential=none",
	}, `{"SecretId":"`+v.prefix+client+`"}`, &secret); err != nil {
		return "", err
	}
	var d document
	if err := json.Unmarshal([]byte(secret.SecretString), &d); err != nil {
		return "", err
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {d.ClientID}, "client_secret": {d.ClientSecret}}
	var token struct {
		ExpiresIn int `json:"expires_in"` // seconds
	}
	body, err := call(ctx, d.TokenEndpoint, map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, form.Encode(), &token)
	if err != nil {
		return "", err
	}
	v.tokens[client] = kept{string(body), time.Now().Add(time.Duration(token.ExpiresIn)*time.Second - 10*time.Second)}
	return string(body), nil
}

// call posts a body and decodes the answer, which it also returns.
func call(ctx context.Context, target string, header map[string]string, body string, answer any) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(response.Status)
	}
	return text, json.NewDecoder(bytes.NewReader(text)).Decode(answer)
}
