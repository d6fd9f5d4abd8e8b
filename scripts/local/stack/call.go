package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"tokenvendor/scripts/local/apigateway"
)

// maxAnswer is the largest part of an answer that is read, in bytes.
const maxAnswer = 1 << 20

// call requests a token of a client as a principal, by a signed request to the API.
func (s *stack) call(ctx context.Context, principal apigateway.Principal, client string) (status int, body []byte, err error) {
	return s.callWith(ctx, principal, client, "")
}

// callWith is call with a form as the body.
func (s *stack) callWith(ctx context.Context, principal apigateway.Principal, client, form string) (status int, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.apiURL+client, strings.NewReader(form))
	if err != nil {
		return 0, nil, err
	}
	if form != "" {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	hash := sha256.Sum256([]byte(form))
	credentials := aws.Credentials{AccessKeyID: principal.AccessKeyID, SecretAccessKey: principal.SecretAccessKey, SessionToken: principal.SessionToken}
	err = v4.NewSigner().SignHTTP(ctx, credentials, request, hex.EncodeToString(hash[:]), "execute-api", region, time.Now())
	if err != nil {
		return 0, nil, err
	}
	response, err := (&http.Client{Timeout: 30 * time.Second}).Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return response.StatusCode, body, err
}

// firstTokens vends one token of each client and prints the first one.
func (s *stack) firstTokens(ctx context.Context, out io.Writer) error {
	for i, c := range s.clients {
		began := time.Now()
		status, body, err := s.call(ctx, s.principals[0], c.name)
		if err != nil {
			return err
		}
		if status == http.StatusForbidden && s.policyMode == "document" {
			fmt.Fprintf(out, "  %-16s not allowed by the policy\n", c.name)
			continue
		}
		if status != http.StatusOK {
			return fmt.Errorf("client %s: status %d: %s", c.name, status, body)
		}
		if i == 0 {
			fmt.Fprintf(out, "A first token, through API Gateway, Lambda, Secrets Manager and the authorization server:\n\n%s\n\n", body)
			fmt.Fprintln(out, "Tokens of one client of each kind:")
		}
		fmt.Fprintf(out, "  %-16s %-28s %-52s %4d ms\n", c.name, c.method, c.format, time.Since(began).Milliseconds())
	}
	return nil
}
