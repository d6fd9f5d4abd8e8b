package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"tokenvendor/scripts/local/apigateway"
	"tokenvendor/scripts/vendctl/openapi/openapitest"
)

// signing is a transport that signs requests with SigV4. It compares answers with the
// description of the API.
type signing struct{ principal apigateway.Principal }

func (s signing) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	signed := r.Clone(r.Context())
	signed.Body = io.NopCloser(strings.NewReader(string(body)))
	hash := sha256.Sum256(body)
	credentials := aws.Credentials{AccessKeyID: s.principal.AccessKeyID, SecretAccessKey: s.principal.SecretAccessKey, SessionToken: s.principal.SessionToken}
	if err := v4.NewSigner().SignHTTP(r.Context(), credentials, signed, hex.EncodeToString(hash[:]), "execute-api", region, time.Now()); err != nil {
		return nil, err
	}
	resp, err := http.DefaultTransport.RoundTrip(signed)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(answer))
	return resp, openapitest.CheckAnswer(resp.StatusCode, resp.Header, answer)
}

// TestOAuthLibraryUsesVendorAsTokenEndpoint: golang.org/x/oauth2 sends no client secret; its
// transport signs instead.
func TestOAuthLibraryUsesVendorAsTokenEndpoint(t *testing.T) {
	s := startStack(t, io.Discard)
	for i, principal := range s.principals {
		ctx := context.WithValue(t.Context(), oauth2.HTTPClient, &http.Client{Transport: signing{principal}})
		library := clientcredentials.Config{ClientID: firstClient, TokenURL: s.apiURL + firstClient, Scopes: []string{"read", "write"}, AuthStyle: oauth2.AuthStyleInParams}
		token, err := library.Token(ctx)
		if err != nil {
			t.Fatalf("principal %d: %v", i, err)
		}
		if !token.Valid() || token.TokenType != "Bearer" || token.Extra("scope") != "read write" || time.Until(token.Expiry) < 50*time.Minute {
			t.Errorf("principal %d: got the type %s, the scope %v and the expiry %v", i, token.TokenType, token.Extra("scope"), token.Expiry)
		}
		// A refusal of the vendor is an error of the library.
		library.TokenURL = s.apiURL + "nobody"
		library.ClientID = "nobody"
		_, err = library.Token(ctx)
		if failure, ok := err.(*oauth2.RetrieveError); !ok || failure.Response.StatusCode != http.StatusForbidden {
			t.Errorf("principal %d: got %v, want a RetrieveError with status 403", i, err)
		}
	}
}
