package main

import (
	"context"
	"encoding/base64"
	"mime"
	"strings"
	"unicode/utf8"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/invocation"
	"tokenvendor/shared/token"
)

// http answers an HTTP event with a proxy response.
func (h *handler) http(ctx context.Context, e *event, payload []byte) []byte {
	asked, grant, err := h.httpGrant(ctx, e, payload)
	if err != nil {
		return appendFailure(nil, h.vendor.Refuse(asked, err), asked.RequestID)
	}
	return appendGrant(nil, grant, h.now())
}

// httpGrant makes the checks in the order in which their problems are reported;
// nothing is called before all have passed. asked is as much of the request as was
// understood.
func (h *handler) httpGrant(ctx context.Context, e *event, payload []byte) (asked token.Request, grant token.Grant, err error) {
	asked = token.Request{RequestID: invocation.RequestID(ctx), Origin: audit.Origin{Source: e.source(), Alias: invocation.Alias(ctx)}}
	defer invocation.Rescue(h.log, asked.RequestID, &err)
	if !e.known() {
		return asked, grant, h.gate.strange(ctx, e)
	}
	if asked.Caller, err = h.gate.caller(ctx, e); err != nil {
		return asked, grant, err
	}
	asked.Origin = e.from(ctx)
	r, err := e.request(payload)
	if err != nil {
		return asked, grant, err
	}
	r.RequestID, r.Origin, r.Caller = asked.RequestID, asked.Origin, asked.Caller
	grant, err = h.vendor.Vend(ctx, r)
	return r, grant, err
}

// request reads the caller's wish out of the event.
func (e *event) request(payload []byte) (token.Request, error) {
	if e.mistyped || !utf8.Valid(payload) {
		return token.Request{}, errShape()
	}
	if e.method != "POST" {
		return token.Request{}, &token.Error{Kind: token.WrongMethod, Description: "the method must be POST"}
	}
	media, err := e.mediaType()
	if err != nil {
		return token.Request{}, err
	}
	body, err := e.bytes()
	if err != nil {
		return token.Request{}, err
	}
	name, err := e.client()
	if err != nil {
		return token.Request{}, err
	}
	if e.query {
		return token.Request{}, &token.Error{Kind: token.Malformed, Description: "parameters belong in the body, not in the query string"}
	}
	switch {
	case len(body) == 0:
		return token.Request{Client: name}, nil
	case media == mediaJSON:
		return token.ParseJSON(name, body)
	default:
		return token.ParseForm(name, body)
	}
}

func errShape() *token.Error {
	return &token.Error{Kind: token.Malformed, Description: "not an event of API Gateway"}
}

const (
	mediaJSON = "application/json"
	mediaForm = "application/x-www-form-urlencoded"
)

// mediaType returns the type of the body; empty when there is no body.
func (e *event) mediaType() (string, error) {
	if e.body == "" {
		return "", nil
	}
	for _, encoding := range e.contentEncoding {
		if !strings.EqualFold(encoding, "identity") {
			return "", wrongMedia("Content-Encoding is not supported")
		}
	}
	if len(e.contentType) != 1 {
		return "", wrongMedia("Content-Type must be given once")
	}
	media, parameters, err := mime.ParseMediaType(e.contentType[0])
	charset := parameters["charset"]
	if err != nil || media != mediaJSON && media != mediaForm || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return "", wrongMedia("Content-Type must be " + mediaForm + " or " + mediaJSON + " in UTF-8")
	}
	return media, nil
}

func wrongMedia(description string) error {
	return &token.Error{Kind: token.WrongMedia, Description: description}
}

// bytes returns the body as bytes of UTF-8.
func (e *event) bytes() ([]byte, error) {
	tooLarge := &token.Error{Kind: token.TooLarge, Description: "the body is larger than 8 KiB"}
	body := []byte(e.body)
	if e.base64 {
		if base64.StdEncoding.DecodedLen(len(body)) > token.MaxBody+2 {
			return nil, tooLarge
		}
		decoded, err := base64.StdEncoding.Strict().DecodeString(e.body)
		// The decoder skips line breaks, which API Gateway never makes.
		if err != nil || strings.ContainsAny(e.body, "\r\n") {
			return nil, &token.Error{Kind: token.Malformed, Description: "the body is not base64"}
		}
		body = decoded
	}
	if len(body) > token.MaxBody {
		return nil, tooLarge
	}
	if !utf8.Valid(body) {
		return nil, &token.Error{Kind: token.Malformed, Description: "the body is not UTF-8"}
	}
	return body, nil
}
