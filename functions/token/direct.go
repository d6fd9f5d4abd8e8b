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
	if list.Requests == nil {
		return h.one(ctx, payload, err)
	}
	return list.Answer(h.log, invocation.RequestID(ctx), func(_ int, raw json.RawMessage) ([]byte, error) { return h.one(ctx, raw, nil) }), nil
}

// one answers a single request; err refuses it.
func (h *handler) one(ctx context.Context, raw []byte, err error) ([]byte, error) {
	grant, err := h.vendor.Vend(ctx, func(r *token.Request) error {
		if *r = invocation.Request(ctx, audit.Direct); err != nil {
			return err
		}
		return r.ParseJSON(raw)
	})
	if err != nil {
		return nil, err
	}
	return grant.AppendJSON(make([]byte, 0, grant.Size()), h.now()), nil
}
