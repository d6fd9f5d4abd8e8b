// Package openapitest checks requests and answers of tests against the description of the
// vendor's API.
package openapitest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"tokenvendor/scripts/vendctl/openapi"
)

// load reads the description once, because tests check thousands of answers.
var load = sync.OnceValues(func() (*routers.Route, error) { //nolint:gochecknoglobals // it is constant
	doc, err := openapi3.NewLoader().LoadFromData([]byte(openapi.Document()))
	if err != nil {
		return nil, err
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, err
	}
	const path = "/token/{client}"
	item := doc.Paths.Value(path)
	if doc.OpenAPI != "3.0.3" || item == nil || item.Post == nil {
		return nil, errors.New("the description is not of OpenAPI 3.0.3, or has no POST " + path)
	}
	return &routers.Route{Spec: doc, Path: path, PathItem: item, Method: http.MethodPost, Operation: item.Post}, nil
})

// input describes a POST of one client.
func input(client, contentType, body string) (*openapi3filter.RequestValidationInput, error) {
	route, err := load()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodPost, "https://vendor.example/v1/token/x", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	return &openapi3filter.RequestValidationInput{
		Request: req, Route: route, PathParams: map[string]string{"client": client},
		Options: &openapi3filter.Options{
			IncludeResponseStatus: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc,
		},
	}, nil
}

// CheckRequest returns an error if the description does not allow a request.
func CheckRequest(client, contentType, body string) error {
	in, err := input(client, contentType, body)
	if err != nil {
		return err
	}
	return openapi3filter.ValidateRequest(context.Background(), in)
}

// CheckAnswer returns an error if the description does not allow an answer. The error names
// the status and holds no part of the body.
func CheckAnswer(status int, header http.Header, body []byte) error {
	in, err := input("billing", "", "")
	if err != nil {
		return err
	}
	if in.Route.Operation.Responses.Status(status) == nil {
		return fmt.Errorf("the description has no answer of status %d", status)
	}
	err = openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: status, Header: header,
		Body: io.NopCloser(strings.NewReader(string(body))), Options: in.Options,
	})
	var failure *openapi3filter.ResponseError
	var schema *openapi3.SchemaError
	switch {
	case errors.As(err, &schema):
		return fmt.Errorf("the description does not allow this answer of status %d: %s", status, schema.Reason)
	case errors.As(err, &failure):
		return fmt.Errorf("the description does not allow this answer of status %d: %s", status, failure.Reason)
	}
	return err
}
