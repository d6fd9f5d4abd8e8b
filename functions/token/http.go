package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"mime"
	"strings"
	"time"
	"unicode/utf8"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/invocation"
	"tokenvendor/shared/token"
)

// http answers an HTTP event with a proxy response.
func (h *handler) http(ctx context.Context, e *event, payload []byte) []byte {
	grant, err := h.vendor.Vend(ctx, func(r *token.Request) error { return h.read(ctx, e, payload, r) })
	if err != nil {
		return appendFailure(nil, fault.From(err), invocation.RequestID(ctx))
	}
	return answerGrant(grant, h.now())
}

// read makes the checks in the order in which their problems are reported.
func (h *handler) read(ctx context.Context, e *event, payload []byte, r *token.Request) (err error) {
	*r = invocation.Request(ctx, e.source())
	if !e.known() {
		r.Origin.Forged = h.gate.forged(ctx, e)
		return errShape()
	}
	if !h.gate.samLocal && !h.gate.believes(ctx, e) {
		r.Origin.Forged = true
		return fault.Refusal(fault.Denied, "an HTTP event without proof that API Gateway made it")
	}
	if r.Caller, err = h.gate.caller(e); err != nil {
		return err
	}
	if h.gate.samLocal {
		// SAM CLI repeats the template of the route as the path that IAM judged, its paths do not
		// begin with the stage, and its times are in seconds. There is no IAM whose judgement
		// could differ.
		e.judged, e.stage, e.origin.GatewayTime = nil, nil, time.Time{}
	}
	r.Origin = e.from(ctx)
	return e.request(payload, r)
}

// request reads what the caller asks for.
func (e *event) request(payload []byte, r *token.Request) error {
	if e.mistyped || !utf8.Valid(payload) {
		return errShape()
	}
	if string(e.method) != "POST" {
		return fault.New(fault.WrongMethod, "the method must be POST")
	}
	media, err := e.mediaType()
	if err != nil {
		return err
	}
	body, err := e.bytes()
	if err != nil {
		return err
	}
	name, err := e.client()
	if err != nil {
		return err
	}
	if e.query {
		return fault.Invalid("parameters belong in the body, not in the query string")
	}
	r.Client = name
	switch {
	case len(body) == 0:
	case media == mediaJSON:
		err = r.ParseJSON(body)
	default:
		err = r.ParseForm(body)
	}
	if err != nil {
		r.Client = "" // of a body that is refused nothing is recorded
	}
	return err
}

func errTooLarge() error { return fault.New(fault.TooLarge, "the body is larger than 8 KiB") }

func errShape() error { return fault.Invalid("not an event of API Gateway") }

const (
	mediaJSON = "application/json"
	mediaForm = "application/x-www-form-urlencoded"
)

// mediaType returns the type of the body; empty when there is no body.
func (e *event) mediaType() (string, error) {
	if len(e.body) == 0 {
		return "", nil
	}
	switch {
	case e.encoded:
		return "", wrongMedia("Content-Encoding is not supported")
	case e.contentTypes == 0:
		return "", wrongMedia("Content-Type is missing: send " + mediaForm + " or " + mediaJSON)
	case e.contentTypes > 1:
		return "", wrongMedia("Content-Type must be given once")
	}
	switch string(e.contentType) { // without an allocation
	case mediaJSON:
		return mediaJSON, nil
	case mediaForm:
		return mediaForm, nil
	}
	media, parameters, err := mime.ParseMediaType(string(e.contentType))
	charset := parameters["charset"]
	if err != nil || media != mediaJSON && media != mediaForm || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return "", wrongMedia("Content-Type must be " + mediaForm + " or " + mediaJSON + " in UTF-8")
	}
	return media, nil
}

func wrongMedia(description string) error {
	return fault.New(fault.WrongMedia, description)
}

// bytes returns the body as bytes of UTF-8.
func (e *event) bytes() ([]byte, error) {
	limit := token.MaxBody
	if e.base64 {
		limit = base64.StdEncoding.EncodedLen(token.MaxBody)
	}
	if len(e.body) > limit {
		return nil, errTooLarge()
	}
	body := e.body
	if e.base64 {
		decoded, err := base64.StdEncoding.Strict().AppendDecode(nil, e.body)
		// The decoder skips line breaks, which API Gateway never makes.
		if err != nil || bytes.ContainsAny(e.body, "\r\n") {
			return nil, fault.Invalid("the body is not base64")
		}
		body = decoded
	}
	if len(body) > token.MaxBody {
		return nil, errTooLarge()
	}
	if !utf8.Valid(body) {
		return nil, fault.Invalid("the body is not UTF-8")
	}
	return body, nil
}
