package apigateway

import (
	"encoding/json"
	"errors"
)

var errMalformed = errors.New("malformed Lambda proxy response")

// proxyResponse is the response of a function.
type proxyResponse struct {
	status  int
	headers map[string]string
	body    string
}

// parseProxyResponse reads a function's response as API Gateway does: a JSON object with
// an integer statusCode and optionally headers and body. multiValueHeaders is not
// supported, and other members are ignored. Without binaryMediaTypes API Gateway does not
// decode a base64 body, whatever isBase64Encoded says.
func parseProxyResponse(answer []byte) (p proxyResponse, err error) {
	// This is not a struct, because encoding/json would accept "StatusCode".
	var members map[string]json.RawMessage
	if err := json.Unmarshal(answer, &members); err != nil {
		return p, errMalformed
	}
	var unsupported any
	for name, target := range map[string]any{"statusCode": &p.status, "headers": &p.headers, "body": &p.body, "multiValueHeaders": &unsupported} {
		if raw := members[name]; raw != nil && json.Unmarshal(raw, target) != nil {
			return p, errMalformed
		}
	}
	if p.status < 200 || p.status > 599 || unsupported != nil {
		return p, errMalformed
	}
	return p, nil
}

// respond sends the function's response.
func (c *call) respond(p proxyResponse) {
	h := c.w.Header()
	for name, value := range p.headers {
		h.Set(name, value)
	}
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	h.Set("X-Amzn-Trace-Id", c.traceID)
	c.send(p.status, []byte(p.body))
}
