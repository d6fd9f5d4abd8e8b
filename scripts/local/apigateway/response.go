package apigateway

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
)

var errMalformed = errors.New("malformed Lambda proxy response")

// proxyResponse is what a function answers.
type proxyResponse struct {
	status int
	header http.Header
	body   string
}

// parseProxyResponse reads a function's answer as API Gateway does: a JSON object
// with an integer statusCode, and optionally headers, multiValueHeaders, body and
// isBase64Encoded of the right types. Anything else is malformed. Other members
// are ignored. Without binaryMediaTypes a base64 body stays base64.
func parseProxyResponse(answer []byte) (proxyResponse, error) {
	// Not a struct: encoding/json would take "StatusCode" for "statusCode".
	var members map[string]json.RawMessage
	if err := json.Unmarshal(answer, &members); err != nil || members == nil {
		return proxyResponse{}, errMalformed
	}
	status, err := parseStatus(members["statusCode"])
	if err != nil {
		return proxyResponse{}, err
	}
	header, err := parseHeaders(members["headers"], members["multiValueHeaders"])
	if err != nil {
		return proxyResponse{}, err
	}
	var body string
	var encoded bool
	if optional(members["body"], &body) != nil || optional(members["isBase64Encoded"], &encoded) != nil {
		return proxyResponse{}, errMalformed
	}
	return proxyResponse{status, header, body}, nil
}

// optional reads a member that may be absent or null.
func optional(raw json.RawMessage, into any) error {
	if raw == nil {
		return nil
	}
	return json.Unmarshal(raw, into)
}

// parseStatus takes an integer, or a string of one.
func parseStatus(raw json.RawMessage) (int, error) {
	text := string(raw)
	if unquoted := ""; json.Unmarshal(raw, &unquoted) == nil {
		text = unquoted
	}
	status, err := strconv.Atoi(text)
	if err != nil || status < 200 || status > 599 {
		return 0, errMalformed
	}
	return status, nil
}

// parseHeaders merges both members; a name in multiValueHeaders wins.
func parseHeaders(single, multi json.RawMessage) (http.Header, error) {
	var one map[string]any
	var many map[string][]any
	if optional(single, &one) != nil || optional(multi, &many) != nil {
		return nil, errMalformed
	}
	h := make(http.Header)
	for name, value := range one {
		text, ok := headerText(value)
		if !ok {
			return nil, errMalformed
		}
		h.Set(responseName(name), text)
	}
	for name, values := range many {
		h.Del(responseName(name))
		for _, value := range values {
			text, ok := headerText(value)
			if !ok {
				return nil, errMalformed
			}
			h.Add(responseName(name), text)
		}
	}
	return h, nil
}

func headerText(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	}
	return "", false
}

// responseName renames what belongs to the connection between caller and API: API
// Gateway sends such a header of the function on under another name.
func responseName(name string) string {
	name = http.CanonicalHeaderKey(name)
	switch name {
	case "Authorization", "Connection", "Content-Length", "Content-Md5", "Date", "Host", "Keep-Alive",
		"Proxy-Authenticate", "Server", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Www-Authenticate":
		return "X-Amzn-Remapped-" + name
	}
	return name
}

// respond answers with what the function said.
func (c *call) respond(p proxyResponse) {
	h := c.w.Header()
	for name, values := range p.header {
		h[name] = values
	}
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	h.Set("X-Amzn-Trace-Id", c.traceID)
	c.send(p.status, []byte(p.body))
}
