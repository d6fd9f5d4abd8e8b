package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"strings"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/invocation"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
)

// event holds what the function reads of an API Gateway REST (v1) or HTTP API
// (v2) proxy event or of a Function URL's, which has the shape of v2. The event
// is itself a secret, it carries the caller's session token: it must never be
// logged, nor anything out of it that isn't named here. The members of type []byte
// share the event's memory, which the runtime uses again: nothing may keep them.
type event struct {
	http     bool // it has a requestContext: it isn't a direct invoke
	v2       bool // requestContext.http
	elb      bool // requestContext.elb: of a load balancer, which authenticates no caller
	mistyped bool // a member has a type that it never has

	version, method      []byte
	path, rawPath        []byte // of v1, of v2
	judged               []byte // requestContext.path: what IAM judged
	stage, route         []byte // as JSON: requestContext.stage; resource of v1, routeKey of v2
	parameters           bool   // there are pathParameters
	clientParameter      []byte // pathParameters.client
	query                bool   // there is a query string
	contentType          []byte // the first one
	contentTypes         int    // how many there are, up to 2 that differ
	encoded              bool   // there is a Content-Encoding other than identity
	envelopeProof        []byte // stageVariables.envelopeProof
	identityARN, userARN []byte // of v1, of v2
	callerID             string // unique id and session, with a colon between them
	domain               []byte // host that was called
	origin               audit.Origin
	body                 []byte
	base64               bool
}

// known reports whether the event is of a shape that we read, and only one.
func (e *event) known() bool {
	if e.v2 {
		return string(e.version) == "2.0" && len(e.path) == 0 && !e.elb
	}
	return (len(e.version) == 0 || string(e.version) == "1.0") && len(e.path) > 0 && len(e.rawPath) == 0 && !e.elb
}

// functionURL reports whether the event is of a Lambda Function URL.
func (e *event) functionURL() bool { return e.v2 && bytes.Contains(e.domain, []byte(".lambda-url.")) }

// source returns the way in that the event has the shape of.
func (e *event) source() audit.Source {
	switch {
	case !e.known():
		return audit.Unknown
	case e.functionURL():
		return audit.URL
	case e.v2:
		return audit.HTTP
	}
	return audit.REST
}

// from says where an event that is believed came from.
func (e *event) from(ctx context.Context) audit.Origin {
	o := e.origin
	o.Source, o.Alias = e.source(), invocation.Alias(ctx)
	if o.TraceID == "" {
		o.TraceID = invocation.TraceID(ctx)
	}
	o.CallerID, o.Session, _ = strings.Cut(e.callerID, ":")
	return o
}

// client returns the name in the path. IAM judged the path as it was sent, so the path must
// consist of /token/ and the name, byte for byte: "%70ayroll" is another path than "payroll",
// and a pattern for the clients team-a-* matches /token/team-a-x/token/payroll too.
func (e *event) client() (string, error) {
	raw, last := e.path, e.clientParameter
	if e.v2 {
		raw = e.rawPath
	}
	if e.v2 && !e.parameters {
		// A Function URL has no routes, and neither has the route $default.
		last = raw[bytes.LastIndexByte(raw, '/')+1:]
	}
	name := string(last)
	if !registry.ValidName(name) || !e.leadsTo(raw, last) || len(e.judged) > 0 && !e.leadsTo(e.judged, last) {
		return "", fault.Invalid("the path must be /token/ and a client's name")
	}
	return name, nil
}

// leadsTo reports whether path is that of a client, behind the prefix that API Gateway adds.
// In v1 this is the stage or a custom domain's base path, or nothing. In v2 it is the stage,
// unless that is $default, also behind a custom domain.
//
// Source: docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
func (e *event) leadsTo(path, name []byte) bool {
	prefix, ok := bytes.CutSuffix(path, name)
	if ok {
		prefix, ok = bytes.CutSuffix(prefix, []byte("/token/"))
	}
	staged := len(e.stage) > 2 && string(e.stage) != `"$default"`
	switch {
	case !ok:
		return false
	case staged && len(prefix) > 0 && prefix[0] == '/' && bytes.Equal(prefix[1:], e.stage[1:len(e.stage)-1]):
		return true
	case len(prefix) == 0 && (!staged || !e.v2):
		return true
	}
	return e.routed() && basePath(string(prefix))
}

// routed reports whether API Gateway matched the whole path against /token/{client}, so that
// what precedes it cannot be the caller's choice.
func (e *event) routed() bool {
	switch string(e.route) {
	case `"/token/{client}"`:
		return !e.v2
	case `"POST /token/{client}"`, `"ANY /token/{client}"`:
		return e.v2 && e.parameters
	}
	return false
}

// basePath reports whether prefix can be the base path of a custom domain. An empty segment
// or one of dots makes it another path to IAM, though a router may not see it, and /token/
// would make two clients of one path.
func basePath(prefix string) bool {
	segments := strings.Split(prefix, "/")
	for _, segment := range segments[1:] {
		if strings.Trim(segment, ".") == "" || segment == "token" || strings.ContainsFunc(segment, notBasePathByte) {
			return false
		}
	}
	return segments[0] == "" && len(segments) > 1
}

func notBasePathByte(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("$-_.+!*'()", r)
}

// gate decides whether an HTTP event is believed. A principal that may invoke
// the function directly could send one with any identity in it.
type gate struct {
	// proof must be the event's stage variable envelopeProof, unless empty.
	proof oauth.Secret
	// alias must be the one that the function was invoked through, unless empty.
	// Lambda sets it, not the caller.
	alias string
	// urlAlias is the alias that has a Function URL; empty: none has. An event of a
	// Function URL has no stage variables, so its alias is all the proof there is.
	urlAlias string
	// samLocal: on a developer's machine there is no identity to be had.
	samLocal bool
}

// caller returns the principal that signed the request of an event that is believed.
func (g gate) caller(e *event) (string, error) {
	if g.samLocal {
		return "sam-local", nil
	}
	arn := e.identityARN
	if e.v2 {
		arn = e.userARN
	}
	caller, ok := principal(string(arn))
	if !ok {
		return "", fault.Refusal(fault.Denied, "the event names no IAM principal")
	}
	return caller, nil
}

// open reports whether the operator asks for no proof at all.
func (g gate) open() bool { return g.proof.IsZero() && g.alias == "" && g.urlAlias == "" }

// forged reports whether an event of no known shape did not come from API Gateway, as far as
// that can be known. It may be API Gateway's mistake, if API Gateway sent it.
func (g gate) forged(ctx context.Context, e *event) bool {
	return !g.samLocal && !g.open() && !g.believes(ctx, e)
}

func (g gate) believes(ctx context.Context, e *event) bool {
	alias := invocation.Alias(ctx)
	if e.functionURL() && !g.open() {
		return g.urlAlias != "" && alias == g.urlAlias
	}
	return g.proven(e) && (g.alias == "" || alias == g.alias)
}

func (g gate) proven(e *event) bool {
	if g.proof.IsZero() {
		return true
	}
	// Hashed, so that neither content nor length shows in the time it takes.
	want := sha256.Sum256([]byte(g.proof.Expose()))
	got := sha256.Sum256(e.envelopeProof)
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// principal normalises the ARN of an IAM identity to partition, account, kind
// and name, as in "aws:111122223333:role/billing-job": the name alone would be
// the same in two accounts, and the session's name is the caller's to choose.
func principal(arn string) (string, bool) {
	if len(arn) > 2048 || strings.Count(arn, ":") != 5 {
		return "", false
	}
	var parts [6]string
	for i := range parts {
		parts[i], arn, _ = strings.Cut(arn, ":")
	}
	if parts[0] != "arn" || !isPartition(parts[1]) || parts[3] != "" || !isAccount(parts[4]) ||
		strings.ContainsFunc(parts[5], notPrincipalByte) {
		return "", false
	}
	kind, name, ok := principalName(parts[2], parts[5])
	return parts[1] + ":" + parts[4] + ":" + kind + name, ok
}

func principalName(service, resource string) (kind, name string, ok bool) {
	if service == "iam" && resource == "root" {
		return "root", "", true
	}
	kind, name, _ = strings.Cut(resource, "/")
	switch {
	case service == "iam" && kind == "user":
		return "user/", name[strings.LastIndexByte(name, '/')+1:], name != "" && !strings.HasSuffix(name, "/")
	case service == "sts" && kind == "assumed-role":
		role, session, _ := strings.Cut(name, "/")
		return "role/", role, role != "" && session != "" && !strings.Contains(session, "/")
	case service == "sts" && kind == "federated-user":
		return "federated-user/", name, name != "" && !strings.Contains(name, "/")
	}
	return "", "", false
}

func isPartition(s string) bool {
	return s == "aws" || strings.HasPrefix(s, "aws-") && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz-") == ""
}

func isAccount(s string) bool { return len(s) == 12 && strings.Trim(s, "0123456789") == "" }

// notPrincipalByte is true outside what IAM allows in paths, names and session
// names.
func notPrincipalByte(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_+=,.@/-", r)
}
