package main

import (
	"context"
	"encoding/json"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/invocation"
	"tokenvendor/shared/token"
)

// direct answers {"client": …} with the token JSON and {"requests": […]} with
// {"responses": […]}, one token JSON or error document for each, in order.
func (h *handler) direct(ctx context.Context, payload []byte) ([]byte, error) {
	list, err := invocation.ParseList(payload)
	if err != nil {
		return nil, h.vendor.Refuse(directRequest(ctx), err)
	}
	if list.Requests != nil {
		return list.Answer(invocation.RequestID(ctx), func(_ int, raw json.RawMessage) ([]byte, *token.Error) { return h.one(ctx, raw) }), nil
	}
	answer, failure := h.one(ctx, payload)
	if failure != nil {
		return nil, failure
	}
	return answer, nil
}

// one answers a single request.
func (h *handler) one(ctx context.Context, raw []byte) ([]byte, *token.Error) {
	asked, answer, err := h.oneGrant(ctx, raw)
	if err != nil {
		return nil, h.vendor.Refuse(asked, err)
	}
	return answer, nil
}

func (h *handler) oneGrant(ctx context.Context, raw []byte) (asked token.Request, answer []byte, err error) {
	asked = directRequest(ctx)
	defer invocation.Rescue(h.log, asked.RequestID, &err)
	r, err := parseOne(raw)
	if err != nil {
		return asked, nil, err
	}
	r.RequestID, r.Origin, r.Caller = asked.RequestID, asked.Origin, asked.Caller
	grant, err := h.vendor.Vend(ctx, r)
	if err != nil {
		return r, nil, err
	}
	return r, grant.AppendJSON(nil, h.now()), nil
}

func parseOne(raw []byte) (token.Request, error) {
	if len(raw) > token.MaxBody {
		return token.Request{}, &token.Error{Kind: token.TooLarge, Description: "the request is larger than 8 KiB"}
	}
	return token.ParseJSON("", raw)
}

// directRequest is what is known of a direct invoke before its payload is read.
func directRequest(ctx context.Context) token.Request {
	alias := invocation.Alias(ctx)
	return token.Request{RequestID: invocation.RequestID(ctx), Caller: invocation.DirectCaller(alias), Origin: audit.Origin{Source: audit.Direct, Alias: alias}}
}
