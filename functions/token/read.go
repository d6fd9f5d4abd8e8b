package main

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"

	"tokenvendor/shared/invocation"
	"tokenvendor/shared/strictjson"
)

// readEvent takes out of an event what the function needs and skips the rest, most of which is
// headers: decoding all of it is most of the work of answering out of memory. A text that isn't
// JSON becomes the zero event.
func readEvent(payload []byte) event {
	r := reader{Reader: strictjson.NewReader(payload)}
	r.Members(r.member)
	if !r.Valid() {
		return event{}
	}
	return r.e
}

// reader reads an event into e.
type reader struct {
	strictjson.Reader
	e event
}

// member takes the outermost members.
func (r *reader) member(name []byte) {
	e := &r.e
	switch string(name) {
	case `"version"`:
		r.text(&e.version)
	case `"path"`:
		r.text(&e.path)
	case `"rawPath"`:
		r.text(&e.rawPath)
	case `"httpMethod"`:
		r.text(&e.method)
	case `"body"`:
		r.text(&e.body)
	case `"resource"`, `"routeKey"`:
		e.route = r.Value()
	case `"isBase64Encoded"`:
		value := string(r.Value())
		e.base64 = value == "true"
		e.mistyped = e.mistyped || !slices.Contains([]string{"true", "false", "null"}, value)
	case `"rawQueryString"`:
		var query []byte
		r.text(&query)
		e.query = e.query || len(query) > 0
	default:
		r.object(string(name))
	}
}

// object takes the members that are objects.
func (r *reader) object(name string) {
	e := &r.e
	switch name {
	case `"headers"`, `"multiValueHeaders"`:
		r.members(r.header)
	case `"queryStringParameters"`, `"multiValueQueryStringParameters"`:
		r.members(func([]byte) { e.query = true })
	case `"pathParameters"`:
		e.parameters = r.Next() == '{'
		r.members(r.textNamed(`"client"`, &e.clientParameter))
	case `"stageVariables"`:
		r.members(r.textNamed(`"envelopeProof"`, &e.envelopeProof))
	case `"requestContext"`:
		e.http = r.Next() != 'n'
		r.members(r.context)
	}
}

// context takes the members of requestContext.
func (r *reader) context(name []byte) {
	e := &r.e
	switch string(name) {
	case `"path"`:
		r.text(&e.judged)
	case `"stage"`:
		e.stage = r.Value()
	case `"elb"`:
		e.elb = true
	case `"identity"`:
		r.members(r.identity)
	case `"http"`:
		e.v2 = r.Next() != 'n'
		// Two methods are those of two shapes at once.
		e.mistyped = e.mistyped || len(e.method) > 0
		r.members(r.call)
	case `"authorizer"`:
		r.members(func(name []byte) {
			if string(name) == `"iam"` {
				r.members(r.iam)
			}
		})
	case `"requestId"`:
		e.origin.GatewayRequestID = string(noted(r.Value()))
	case `"timeEpoch"`:
		if ms, err := strconv.ParseInt(string(r.Value()), 10, 64); err == nil {
			e.origin.GatewayTime = time.UnixMilli(ms)
		}
	case `"domainName"`:
		e.domain = noted(r.Value())
	}
}

// call takes the members of requestContext.http, of v2.
func (r *reader) call(name []byte) {
	switch string(name) {
	case `"method"`:
		r.text(&r.e.method)
	case `"sourceIp"`:
		r.e.origin.SourceIP = string(noted(r.Value()))
	}
}

// identity takes the members of requestContext.identity, of v1.
func (r *reader) identity(name []byte) {
	switch string(name) {
	case `"userArn"`:
		r.text(&r.e.identityARN)
	case `"caller"`:
		r.e.callerID = string(noted(r.Value()))
	case `"sourceIp"`:
		r.e.origin.SourceIP = string(noted(r.Value()))
	case `"vpceId"`:
		r.e.origin.VPCE = string(noted(r.Value()))
	}
}

// iam takes the members of requestContext.authorizer.iam, of v2.
func (r *reader) iam(name []byte) {
	switch string(name) {
	case `"userArn"`:
		r.text(&r.e.userARN)
	case `"callerId"`:
		r.e.callerID = string(noted(r.Value()))
	}
}

// noted returns a text that is only written down, if it has the form of an identifier of
// AWS's or of an address; else nil.
func noted(value []byte) []byte {
	if len(value) > 6*maxNote {
		return nil
	}
	text, _ := strictjson.Bytes(value)
	if len(text) > maxNote || slices.ContainsFunc(text, notNoteByte) {
		return nil
	}
	return text
}

// maxNote is longer than these are, in bytes.
const maxNote = 128

func notNoteByte(c byte) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("-_.=:@+,/", c) < 0
}

// header takes the headers that say what the body is, and those that name the trace. A name
// may be in the caller's spelling, and in headers as well as in multiValueHeaders.
func (r *reader) header(name []byte) {
	e := &r.e
	switch {
	case isHeader(name, `"content-type"`):
		r.texts(e.takeType)
	case isHeader(name, `"content-encoding"`):
		r.texts(func(text []byte) {
			e.encoded = e.encoded || !bytes.EqualFold(bytes.TrimSpace(text), []byte("identity"))
		})
	case isHeader(name, `"x-amzn-trace-id"`):
		setTrace(&e.origin.TraceID, invocation.TraceRoot, r.Value())
	case isHeader(name, `"traceparent"`):
		setTrace(&e.origin.Traceparent, traceparent, r.Value())
	}
}

// isHeader reports whether a name is that of a header, which is ASCII.
func isHeader(name []byte, header string) bool {
	return len(name) == len(header) && bytes.EqualFold(name, []byte(header))
}

// texts calls take with each text of a header.
func (r *reader) texts(take func(text []byte)) {
	value := r.Value()
	r.e.mistyped = r.e.mistyped || len(value) > maxHeaders || !strictjson.EachString(value, take)
}

func (e *event) takeType(text []byte) {
	text = bytes.TrimSpace(text)
	switch {
	case e.contentTypes == 0:
		e.contentType, e.contentTypes = text, 1
	case !bytes.Equal(text, e.contentType):
		e.contentTypes = 2
	}
}

// maxTrace is more than a header that names a trace has, in bytes.
const maxTrace = 1 << 10

// setTrace sets dst to what read finds in a header. Its value is a list in multiValueHeaders.
func setTrace(dst *string, read func(string) string, value []byte) {
	if *dst != "" || len(value) > maxTrace {
		return
	}
	if text, ok := strictjson.String(value); ok {
		*dst = read(text)
	}
}

// traceparent returns a header of that name; empty: it has another form.
//
// Source: W3C Trace Context, section 3.2.2
func traceparent(text string) string {
	if len(text) != 55 || text[2] != '-' || text[35] != '-' || text[52] != '-' || strings.Count(text, "-") != 3 || strings.Trim(text, "0123456789abcdef-") != "" {
		return ""
	}
	return text
}

// maxHeaders is more than API Gateway takes of all headers together, in bytes. A direct
// invoke can have any event, and its headers are read before it is refused.
//
// Source: docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
const maxHeaders = 16 << 10

// text sets dst to a JSON string; null counts as empty.
func (r *reader) text(dst *[]byte) {
	value := r.Value()
	text, ok := strictjson.Bytes(value)
	r.e.mistyped = r.e.mistyped || !ok && string(value) != "null"
	*dst = text
}

func (r *reader) textNamed(want string, dst *[]byte) func(name []byte) {
	return func(name []byte) {
		if string(name) == want {
			r.text(dst)
		}
	}
}

// members is Members for a value that must be an object or null.
func (r *reader) members(member func(name []byte)) {
	kind := r.Next()
	r.e.mistyped = r.e.mistyped || kind != '{' && kind != 'n'
	r.Members(member)
}
