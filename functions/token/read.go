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

// readEvent takes out of an event what the function needs and leaves the rest,
// most of which is headers, unread: decoding all of it is most of the work of
// answering out of memory. A text that isn't JSON becomes the zero event.
func readEvent(payload []byte) (e event) {
	if !strictjson.Valid(payload) {
		return e
	}
	strictjson.Each(bytes.TrimSpace(payload), func(name, value []byte) {
		switch string(name) {
		case `"version"`:
			e.text(&e.version, value)
		case `"path"`:
			e.text(&e.path, value)
		case `"rawPath"`:
			e.text(&e.rawPath, value)
		case `"httpMethod"`:
			e.text(&e.method, value)
		case `"body"`:
			e.text(&e.body, value)
		case `"resource"`, `"routeKey"`:
			e.route = value
		case `"isBase64Encoded"`:
			e.base64 = value[0] == 't'
			e.mistyped = e.mistyped || !slices.Contains([]string{"true", "false", "null"}, string(value))
		case `"rawQueryString"`:
			var query []byte
			e.text(&query, value)
			e.query = e.query || len(query) > 0
		default:
			e.object(string(name), value)
		}
	})
	return e
}

// object takes the members that are objects.
func (e *event) object(name string, value []byte) {
	var member func(name, value []byte)
	switch name {
	case `"headers"`, `"multiValueHeaders"`:
		member = e.header
	case `"queryStringParameters"`, `"multiValueQueryStringParameters"`:
		member = func([]byte, []byte) { e.query = true }
	case `"pathParameters"`:
		e.parameters = value[0] == '{'
		member = e.textNamed(`"client"`, &e.clientParameter)
	case `"stageVariables"`:
		member = e.textNamed(`"envelopeProof"`, &e.envelopeProof)
	case `"requestContext"`:
		e.http = value[0] != 'n'
		member = e.context
	default:
		return
	}
	e.members(value, member)
}

// context takes the members of requestContext.
func (e *event) context(name, value []byte) {
	switch string(name) {
	case `"path"`:
		e.text(&e.judged, value)
	case `"stage"`:
		e.stage = value
	case `"elb"`:
		e.elb = true
	case `"identity"`:
		e.members(value, e.identity)
	case `"http"`:
		e.v2 = value[0] != 'n'
		// Two methods are those of two shapes at once.
		e.mistyped = e.mistyped || len(e.method) > 0
		e.members(value, e.call)
	case `"authorizer"`:
		e.members(value, func(name, value []byte) {
			if string(name) == `"iam"` {
				e.members(value, e.iam)
			}
		})
	case `"requestId"`:
		e.origin.GatewayRequestID = string(noted(value))
	case `"timeEpoch"`:
		if ms, err := strconv.ParseInt(string(value), 10, 64); err == nil {
			e.origin.GatewayTime = time.UnixMilli(ms)
		}
	case `"domainName"`:
		e.domain = noted(value)
	}
}

// call takes the members of requestContext.http, of v2.
func (e *event) call(name, value []byte) {
	switch string(name) {
	case `"method"`:
		e.text(&e.method, value)
	case `"sourceIp"`:
		e.origin.SourceIP = string(noted(value))
	}
}

// identity takes the members of requestContext.identity, of v1.
func (e *event) identity(name, value []byte) {
	switch string(name) {
	case `"userArn"`:
		e.text(&e.identityARN, value)
	case `"caller"`:
		e.callerID = string(noted(value))
	case `"sourceIp"`:
		e.origin.SourceIP = string(noted(value))
	case `"vpceId"`:
		e.origin.VPCE = string(noted(value))
	}
}

// iam takes the members of requestContext.authorizer.iam, of v2.
func (e *event) iam(name, value []byte) {
	switch string(name) {
	case `"userArn"`:
		e.text(&e.userARN, value)
	case `"callerId"`:
		e.callerID = string(noted(value))
	}
}

// noted returns a text that is only written down, if it has the form of an identifier of
// AWS's or of an address; else nil.
func noted(value []byte) []byte {
	if len(value) > 6*maxNote {
		return nil
	}
	text, _ := strictjson.Bytes(value)
	if len(text) > maxNote || bytes.ContainsFunc(text, notNoteByte) {
		return nil
	}
	return text
}

// maxNote is longer than these are, in bytes.
const maxNote = 128

func notNoteByte(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.=:@+,/", r)
}

// header takes the headers that say what the body is, and those that name the trace. A name
// may be in the caller's spelling, and in headers as well as in multiValueHeaders.
func (e *event) header(name, value []byte) {
	var take func(text []byte)
	switch {
	case bytes.EqualFold(name, []byte(`"content-type"`)):
		take = e.takeType
	case bytes.EqualFold(name, []byte(`"content-encoding"`)):
		take = func(text []byte) {
			e.encoded = e.encoded || !bytes.EqualFold(bytes.TrimSpace(text), []byte("identity"))
		}
	case bytes.EqualFold(name, []byte(`"x-amzn-trace-id"`)):
		setTrace(&e.origin.TraceID, invocation.TraceRoot, value)
		return
	case bytes.EqualFold(name, []byte(`"traceparent"`)):
		setTrace(&e.origin.Traceparent, traceparent, value)
		return
	default:
		return
	}
	e.mistyped = e.mistyped || len(value) > maxHeaders || !strictjson.EachString(value, take)
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
func (e *event) text(dst *[]byte, value []byte) {
	text, ok := strictjson.Bytes(value)
	e.mistyped = e.mistyped || !ok && string(value) != "null"
	*dst = text
}

func (e *event) textNamed(want string, dst *[]byte) func(name, value []byte) {
	return func(name, value []byte) {
		if string(name) == want {
			e.text(dst, value)
		}
	}
}

// members is strictjson.Each for a member that must be an object or null.
func (e *event) members(value []byte, member func(name, value []byte)) {
	e.mistyped = e.mistyped || value[0] != '{' && value[0] != 'n'
	strictjson.Each(value, member)
}
