package apigateway

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestEventHasAllMembersOfAWS(t *testing.T) {
	a := newAPI(t, nil)
	got := a.send(t, signedCall{
		path: "/local/token/billing?scope=a&scope=b",
		body: `{"grant_type":"client_credentials"}`,
		before: func(r *http.Request) {
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("X-Forwarded-For", "203.0.113.9")
			r.Header["X-Multi"] = []string{"one", "two"}
			r.Header.Set("User-Agent", "test/1")
			r.Header.Set("X-Forwarded-Proto", "gopher")
		},
	})
	if got.status != 200 {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	e := a.raw[0]
	wantMembers(t, e, "resource path httpMethod headers multiValueHeaders queryStringParameters "+
		"multiValueQueryStringParameters pathParameters stageVariables requestContext body isBase64Encoded")
	rc := e["requestContext"].(map[string]any)
	wantMembers(t, rc, "resourceId resourcePath httpMethod extendedRequestId requestTime path accountId protocol stage "+
		"domainPrefix requestTimeEpoch requestId identity domainName deploymentId apiId")
	id := rc["identity"].(map[string]any)
	wantMembers(t, id, "cognitoIdentityPoolId accountId cognitoIdentityId caller sourceIp principalOrgId accessKey "+
		"cognitoAuthenticationType cognitoAuthenticationProvider userArn userAgent user")

	host, _ := url.Parse(a.url)
	headers := e["headers"].(map[string]any)
	for _, check := range []struct {
		name      string
		got, want any
	}{
		{"resource", e["resource"], "/token/{client}"},
		{"path", e["path"], "/token/billing"},
		{"body", e["body"], `{"grant_type":"client_credentials"}`},
		{"isBase64Encoded", e["isBase64Encoded"], false},
		{"query", jsonText(t, e["queryStringParameters"]), `{"scope":"b"}`},
		{"queries", jsonText(t, e["multiValueQueryStringParameters"]), `{"scope":["a","b"]}`},
		{"pathParameters", jsonText(t, e["pathParameters"]), `{"client":"billing"}`},
		{"stageVariables", jsonText(t, e["stageVariables"]), `{"envelopeProof":"proof"}`},
		{"Host", headers["Host"], host.Host},
		{"token", headers["X-Amz-Security-Token"], session.SessionToken},
		{"date", headers["X-Amz-Date"], "20261123T000203Z"},
		{"Authorization", headers["Authorization"], nil},
		{"Content-Length", headers["Content-Length"], nil},
		{"repeated header", headers["X-Multi"], "two"},
		{"repeated headers", jsonText(t, e["multiValueHeaders"].(map[string]any)["X-Multi"]), `["one","two"]`},
		{"X-Forwarded-For", headers["X-Forwarded-For"], "203.0.113.9, 127.0.0.1"},
		{"X-Forwarded-Proto", headers["X-Forwarded-Proto"], "http"},
		{"X-Forwarded-Port", headers["X-Forwarded-Port"], host.Port()},
		{"requestContext.path", rc["path"], "/local/token/billing"},
		{"requestTime", rc["requestTime"], "23/Nov/2026:00:02:03 +0000"},
		{"requestTimeEpoch", rc["requestTimeEpoch"], float64(now.UnixMilli())},
		{"domainName", rc["domainName"], "127.0.0.1"},
		{"requestId", rc["requestId"], got.header.Get("X-Amzn-Requestid")},
		{"extendedRequestId", rc["extendedRequestId"], got.header.Get("X-Amz-Apigw-Id")},
		{"accountId", rc["accountId"], "123456789012"},
		{"accessKey", id["accessKey"], session.AccessKeyID},
		{"identity.accountId", id["accountId"], "111122223333"},
		{"userArn", id["userArn"], role},
		{"userAgent", id["userAgent"], "test/1"},
		{"sourceIp", id["sourceIp"], "127.0.0.1"},
		{"principalOrgId", id["principalOrgId"], nil},
	} {
		if check.got != check.want {
			t.Errorf("%s: got %v, want %v", check.name, check.got, check.want)
		}
	}
	wantMatch(t, id["caller"], `^AROA[A-Z2-7]{17}:run-1$`)
	wantMatch(t, headers["X-Amzn-Trace-Id"], `^Root=1-[0-9a-f]{8}-[0-9a-f]{24}$`)
	if strings.Contains(jsonText(t, e), "AWS4-HMAC") || strings.Contains(jsonText(t, e), session.SecretAccessKey) {
		t.Error("the event contains the signature or the secret")
	}
}

func wantMatch(t *testing.T, got any, pattern string) {
	t.Helper()
	if text, _ := got.(string); !regexp.MustCompile(pattern).MatchString(text) {
		t.Errorf("%v does not match %s", got, pattern)
	}
}

// wantMembers fails the test unless object has exactly these members.
func wantMembers(t *testing.T, object map[string]any, names string) {
	t.Helper()
	want := strings.Fields(names)
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(object)); !slices.Equal(got, want) {
		t.Errorf("got the members %v, want %v", got, want)
	}
}

func jsonText(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEventHasNullForMissingMembers(t *testing.T) {
	a := newAPI(t, func(c *Config) { c.StageVariables = nil })
	a.send(t, signedCall{credentials: longTerm})
	if len(a.raw) != 1 {
		t.Fatalf("got %d events, want one", len(a.raw))
	}
	for _, name := range []string{"body", "queryStringParameters", "multiValueQueryStringParameters", "stageVariables"} {
		if value, ok := a.raw[0][name]; !ok || value != nil {
			t.Errorf("%s: got %v, want null", name, value)
		}
	}
	identity := a.events[0].RequestContext.Identity
	wantMatch(t, identity.Caller, `^AIDA[A-Z2-7]{17}$`)
	if identity.UserArn != user || identity.AccountID != "444455556666" || identity.User != identity.Caller {
		t.Errorf("got the identity %+v", identity)
	}
}

func TestBodyIsPassedAsText(t *testing.T) {
	for name, tt := range map[string]struct{ body, want string }{
		"markup":    {`<a href="x">&`, `<a href="x">&`},
		"UTF-8":     {"pässword ☃", "pässword ☃"},
		"not UTF-8": {"a\xffb", "a\uFFFDb"},
		"control":   {"a\x00b\r\n", "a\x00b\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t, nil)
			if got := a.send(t, signedCall{body: tt.body}); got.status != 200 {
				t.Fatalf("got %d %s", got.status, got.body)
			}
			if got := *a.events[0].Body; got != tt.want || a.events[0].IsBase64Encoded {
				t.Errorf("got the body %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTraceIDIsPassedOn(t *testing.T) {
	a := newAPI(t, nil)
	const trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1"
	got := a.send(t, signedCall{before: set("X-Amzn-Trace-Id", trace)})
	if a.events[0].Headers["X-Amzn-Trace-Id"] != trace || got.header.Get("X-Amzn-Trace-Id") != trace {
		t.Errorf("got %v in the event and %v in the answer, want %s", a.events[0].Headers, got.header, trace)
	}
}
