package main

import (
	"context"
	"encoding/json"
	"strconv"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/policy"
	"tokenvendor/shared/strictjson"
	"tokenvendor/shared/token"
)

// The event that announces a token.
const (
	eventSource     = "token-vendor"
	eventTokenReady = "TokenReady"
)

// itemID names one of the requests that came under one id. No id holds a "#", so that it
// cannot be taken for an item of another.
func itemID(id string, i int) string {
	if i == 0 {
		return id
	}
	return id + "#" + strconv.Itoa(i)
}

// fetch fetches a token ahead, as read orders it.
func (h *handler) fetch(ctx context.Context, read func(*token.Order) error) (token.Announcement, error) {
	announced, err := h.vendor.Announce(ctx, read)
	if err != nil {
		h.count(countJobsFailed)
	}
	return announced, err
}

// refuse records that a request was refused, and counts that.
func (h *handler) refuse(ctx context.Context, r token.Request, refusal error) error {
	h.count(countJobsFailed)
	return h.record(ctx, r, refusal)
}

// record records that a request was refused.
func (h *handler) record(ctx context.Context, r token.Request, refusal error) error {
	_, err := h.vendor.Vend(ctx, func(asked *token.Request) error {
		*asked = r
		return refusal
	})
	return err
}

// announce fetches a token ahead, and tells the bus. confirm is that of once.
func (h *handler) announce(ctx context.Context, read func(*token.Order) error, confirm func() bool) error {
	announced, err := h.fetch(ctx, read)
	if err != nil {
		return err
	}
	return h.tell(ctx, announced, confirm)
}

func (h *handler) tell(ctx context.Context, announced token.Announcement, confirm func() bool) error {
	if !confirm() {
		return errBusy()
	}
	if err := h.bus.Put(ctx, eventSource, eventTokenReady, encode(announced)); err != nil {
		h.count(countJobsFailed)
		h.log.Warn("not announced", "client", announced.Client, "id", announced.ID, "detail", err.Error())
		return fault.New(fault.Unavailable, "the event bus did not take the announcement")
	}
	h.count(countAnnounced)
	return nil
}

// parseOrder reads a request, and the caller that alone may redeem its claim.
func parseOrder(o *token.Order, raw []byte) error {
	if len(raw) > token.MaxBody {
		return fault.New(fault.TooLarge, "the request is larger than 8 KiB")
	}
	members, err := strictjson.Object(raw, strictjson.Limits{Outer: true, Depth: maxDepth})
	if err != nil {
		return fault.Invalid("the request is " + err.Error())
	}
	if text, ok := members["caller"]; ok {
		name, _ := strictjson.String(text)
		if o.For, err = policy.Caller(name); err != nil {
			return fault.Invalid("caller" + err.Error())
		}
		raw = without(members, "caller")
	}
	return o.ParseJSON(raw)
}

// without returns an object without some of its members.
func without(members map[string]json.RawMessage, names ...string) []byte {
	for _, name := range names {
		delete(members, name)
	}
	return encode(members)
}
