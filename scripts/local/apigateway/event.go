package apigateway

import (
	"encoding/json"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
)

const (
	resourcePath = "/token/{client}"
	// requestTimeLayout is the Common Log Format.
	requestTimeLayout = "02/Jan/2006:15:04:05 -0700"
)

// proxyEvent is the function's event in the payload format version 1.0, with all members
// that AWS sends for an AWS_IAM method.
type proxyEvent struct {
	Resource                        string              `json:"resource"`
	Path                            string              `json:"path"`
	HTTPMethod                      string              `json:"httpMethod"`
	Headers                         map[string]string   `json:"headers"`
	MultiValueHeaders               map[string][]string `json:"multiValueHeaders"`
	QueryStringParameters           map[string]string   `json:"queryStringParameters"`
	MultiValueQueryStringParameters map[string][]string `json:"multiValueQueryStringParameters"`
	PathParameters                  map[string]string   `json:"pathParameters"`
	StageVariables                  map[string]string   `json:"stageVariables"`
	RequestContext                  requestContext      `json:"requestContext"`
	Body                            *string             `json:"body"`
	IsBase64Encoded                 bool                `json:"isBase64Encoded"`
}

type requestContext struct {
	ResourceID        string        `json:"resourceId"`
	ResourcePath      string        `json:"resourcePath"`
	HTTPMethod        string        `json:"httpMethod"`
	ExtendedRequestID string        `json:"extendedRequestId"`
	RequestTime       string        `json:"requestTime"`
	Path              string        `json:"path"`
	AccountID         string        `json:"accountId"`
	Protocol          string        `json:"protocol"`
	Stage             string        `json:"stage"`
	DomainPrefix      string        `json:"domainPrefix"`
	RequestTimeEpoch  int64         `json:"requestTimeEpoch"` // milliseconds
	RequestID         string        `json:"requestId"`
	Identity          eventIdentity `json:"identity"`
	DomainName        string        `json:"domainName"`
	DeploymentID      string        `json:"deploymentId"`
	APIID             string        `json:"apiId"`
}

// eventIdentity is null where a caller has no Cognito identity and no organization.
type eventIdentity struct {
	CognitoIdentityPoolID         *string `json:"cognitoIdentityPoolId"`
	AccountID                     string  `json:"accountId"`
	CognitoIdentityID             *string `json:"cognitoIdentityId"`
	Caller                        string  `json:"caller"`
	SourceIP                      string  `json:"sourceIp"`
	PrincipalOrgID                *string `json:"principalOrgId"`
	AccessKey                     string  `json:"accessKey"`
	CognitoAuthenticationType     *string `json:"cognitoAuthenticationType"`
	CognitoAuthenticationProvider *string `json:"cognitoAuthenticationProvider"`
	UserArn                       string  `json:"userArn"`
	UserAgent                     string  `json:"userAgent"`
	User                          string  `json:"user"`
}

// event returns the function's event. It fails if the path or the query is malformed.
func (s *Server) event(c *call) ([]byte, error) {
	client, err := url.PathUnescape(c.client)
	if err != nil {
		return nil, err
	}
	query, err := url.ParseQuery(c.query)
	if err != nil {
		return nil, err
	}
	headers := c.forwardedHeaders()
	e := proxyEvent{
		Resource:                        resourcePath,
		Path:                            strings.TrimPrefix(c.path, "/"+s.cfg.Stage),
		HTTPMethod:                      c.r.Method,
		Headers:                         lastValues(headers),
		MultiValueHeaders:               headers,
		QueryStringParameters:           lastValues(query),
		MultiValueQueryStringParameters: query,
		PathParameters:                  map[string]string{"client": client},
		StageVariables:                  s.cfg.StageVariables,
		RequestContext:                  s.requestContext(c),
	}
	if len(query) == 0 {
		e.MultiValueQueryStringParameters = nil
	}
	if len(c.body) > 0 {
		body := string(c.body)
		e.Body = &body
	}
	return json.Marshal(e)
}

func (s *Server) requestContext(c *call) requestContext {
	domain := c.r.Host
	if host, _, err := net.SplitHostPort(domain); err == nil {
		domain = host
	}
	prefix, _, _ := strings.Cut(domain, ".")
	return requestContext{
		ResourceID:        "local0",
		ResourcePath:      resourcePath,
		HTTPMethod:        c.r.Method,
		ExtendedRequestID: c.longID,
		RequestTime:       c.began.UTC().Format(requestTimeLayout),
		Path:              c.path,
		AccountID:         s.cfg.Account,
		Protocol:          c.r.Proto,
		Stage:             s.cfg.Stage,
		DomainPrefix:      prefix,
		RequestTimeEpoch:  c.began.UnixMilli(),
		RequestID:         c.id,
		Identity: eventIdentity{
			AccountID: c.who.account,
			Caller:    c.who.caller,
			SourceIP:  c.sourceIP(),
			AccessKey: c.who.AccessKeyID,
			UserArn:   c.who.ARN,
			UserAgent: c.r.UserAgent(),
			User:      c.who.caller,
		},
		DomainName:   domain,
		DeploymentID: "local0",
		APIID:        s.cfg.APIID,
	}
}

// forwardedHeaders returns the received headers in net/http's spelling, with the headers
// that API Gateway adds and without those that it removes. With AWS_IAM it removes the
// Authorization header and passes the session token on.
func (c *call) forwardedHeaders() map[string][]string {
	h := maps.Clone(map[string][]string(c.r.Header))
	for _, name := range []string{
		"Authorization", "Connection", "Content-Length", "Expect", "Keep-Alive", "Proxy-Authorization",
		"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	} {
		delete(h, name)
	}
	proto, port := "http", "80"
	if c.r.TLS != nil {
		proto, port = "https", "443"
	}
	if _, given, err := net.SplitHostPort(c.r.Host); err == nil {
		port = given
	}
	path := append(slices.Clone(h["X-Forwarded-For"]), c.sourceIP())
	h["Host"] = []string{c.r.Host}
	h["X-Amzn-Trace-Id"] = []string{c.traceID}
	h["X-Forwarded-For"] = []string{strings.Join(path, ", ")}
	h["X-Forwarded-Port"] = []string{port}
	h["X-Forwarded-Proto"] = []string{proto}
	return h
}

// lastValues returns the last value of each name, as API Gateway does. Without names it
// returns nil, which is null in JSON.
func lastValues[M ~map[string][]string](all M) map[string]string {
	if len(all) == 0 {
		return nil
	}
	last := make(map[string]string, len(all))
	for name, values := range all {
		if len(values) > 0 {
			last[name] = values[len(values)-1]
		}
	}
	return last
}
