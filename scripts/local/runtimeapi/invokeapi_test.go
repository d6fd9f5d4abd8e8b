package runtimeapi

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

type reply struct {
	status int
	header http.Header
	body   string
}

func send(t *testing.T, method, target, body string, change func(*http.Request)) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(got)}
}

func TestInvokeAPI(t *testing.T) {
	r := start(t, func(c *Config) { c.PrivateAliases = []string{"http"} })
	set := func(name, value string) func(*http.Request) {
		return func(req *http.Request) { req.Header.Set(name, value) }
	}
	tests := []struct {
		name   string
		path   string // after /2015-03-31/functions/
		body   string
		change func(*http.Request)
		status int
		kind   string // X-Amzn-Errortype, or the function error
		part   string // of the body
	}{
		{"answer", "token/invocations", `{"text":"hello"}`, nil, 200, "", `"text":"hello"`},
		{"no payload", "token/invocations", ``, nil, 200, "", `"text":""`},
		{"qualifier", "token/invocations?Qualifier=direct", `{}`, nil, 200, "", `function:token:direct"`},
		{"qualifier in the name", "token:direct/invocations", `{}`, nil, 200, "", `function:token:direct"`},
		{"ARN", "arn%3Aaws%3Alambda%3Aeu-central-1%3A123456789012%3Afunction%3Atoken%3Adirect/invocations", `{}`, nil, 200, "", `function:token:direct"`},
		{"partial ARN", "123456789012:function:token/invocations?Qualifier=direct", `{}`, nil, 200, "", `function:token:direct"`},
		{"ARN of another account", "arn:aws:lambda:eu-central-1:999999999999:function:token/invocations", `{}`, nil, 404, "ResourceNotFoundException", ""},
		{"private alias in the ARN", "arn:aws:lambda:eu-central-1:123456789012:function:token:http/invocations", `{}`, nil, 403, "AccessDeniedException", ""},
		{"same qualifier twice", "token:direct/invocations?Qualifier=direct", `{}`, nil, 200, "", `function:token:direct"`},
		{"two qualifiers", "token:direct/invocations?Qualifier=other", `{}`, nil, 400, "InvalidParameterValueException", ""},
		{"malformed qualifier", "token/invocations?Qualifier=a:b", `{}`, nil, 400, "ValidationException", ""},
		{"private alias", "token/invocations?Qualifier=http", `{}`, nil, 403, "AccessDeniedException", ""},
		{"private alias in the name", "token:http/invocations", `{}`, nil, 403, "AccessDeniedException", ""},
		{"another function", "other/invocations", `{}`, nil, 404, "ResourceNotFoundException", ""},
		{"another operation", "token/policy", `{}`, nil, 404, "UnknownOperationException", "token/policy"},
		{"typed error", "token/invocations", `{"do":"fail","text":"no"}`, nil, 200, unhandled, `{"errorMessage":"no","errorType":"access_denied"}`},
		{"not JSON", "token/invocations", `{`, nil, 400, "InvalidRequestContentException", ""},
		{"too large", "token/invocations", strings.Repeat(" ", maxPayload) + "{}", nil, 413, "RequestTooLargeException", ""},
		{"synchronous", "token/invocations", `{}`, set("X-Amz-Invocation-Type", "RequestResponse"), 200, "", ""},
		{"another invocation type", "token/invocations", `{}`, set("X-Amz-Invocation-Type", "Event"), 400, "InvalidParameterValueException", ""},
		{"client context", "token/invocations", `{}`, set("X-Amz-Client-Context", "e30="), 400, "InvalidParameterValueException", ""},
		{"from a web page", "token/invocations", `{}`, set("Origin", "https://example.com"), 403, "AccessDeniedException", ""},
		{"by another host name", "token/invocations", `{}`, func(req *http.Request) { req.Host = "rebound.example:80" }, 403, "AccessDeniedException", ""},
		{"by the name localhost", "token/invocations", `{}`, func(req *http.Request) { req.Host = "localhost:1" }, 200, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := send(t, "POST", r.URL()+"/2015-03-31/functions/"+tt.path, tt.body, tt.change)
			kind := got.header.Get("X-Amzn-Errortype") + got.header.Get("X-Amz-Function-Error")
			if got.status != tt.status || kind != tt.kind || !strings.Contains(got.body, tt.part) {
				t.Errorf("got %d %q %.300s, want %d %q", got.status, kind, got.body, tt.status, tt.kind)
			}
			if got.status < 300 && (len(got.header.Get("X-Amzn-Requestid")) != 36 || got.header.Get("X-Amz-Executed-Version") != "$LATEST") {
				t.Errorf("got the headers %v", got.header)
			}
		})
	}
}
