// Package openapi holds the description of the vendor's API.
package openapi

import _ "embed"

//go:embed openapi.json
var document string

// Document returns the description in OpenAPI 3.0.3. API Gateway imports nothing newer.
func Document() string { return document }
