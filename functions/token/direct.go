package main

import (
	"context"
	"encoding/json"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/invocation"
	"tokenvendor/shared/token"
)

// direct answers {"client": …} with the token JSON and {"requests": […]} with
// {"responses": […]}, one token JSON or error document for each, in order.
func (h *handler) direct(ctx context.Context, payload []byte) ([]byte, error) {
	list, err := invocation.ParseList(payload)
	if list.Requests == nil {
		grant, err := h.one(ctx, payload, err)
		if err != nil {
			return nil, err
		}
		return grant.AppendJSON(make([]byte, 0, grant.Size()), h.now()), nil
	}
	grants := make([]token.Grant, len(list.Requests))
	work := func(i int, raw json.RawMessage) (err error) {
		grants[i], err = h.one(ctx, raw, nil)
		return err
	}
	return list.Answer(h.log, invocation.RequestID(ctx), work, func(i int) ([]byte, error) {
		grant, now := &grants[i], h.now()
		if grant.Token != nil && grant.Token.Ended(now) {
			return nil, fault.New(fault.Unavailable, "the token expired while other requests were answered: ask for it again")
		}
		return grant.AppendJSON(make([]byte, 0, grant.Size()), now), nil
	}), nil
}

// one answers a single request; err refuses it.
func (h *handler) one(ctx context.Context, raw []byte, err error) (token.Grant, error) {
	return h.vendor.Vend(ctx, func(r *token.Request) error {
		if *r = invocation.Request(ctx, audit.Direct); err != nil {
			return err
		}
		return r.ParseJSON(raw)
	})
}
