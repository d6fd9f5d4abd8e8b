package main

import (
	"context"
	"encoding/json"
	"strconv"

	"tokenvendor/shared/policy"
	"tokenvendor/shared/strictjson"
	"tokenvendor/shared/token"
)

// The event that announces a token.
const (
	eventSource     = "token-vendor"
	eventTokenReady = "TokenReady"
)

// itemID names one of the requests that came under one id. No id holds a "#", so that
// none can be taken for another's item.
func itemID(id string, i int) string {
	if i == 0 {
		return id
	}
	return id + "#" + strconv.Itoa(i)
}

// fetch fetches ahead what raw orders. Every error has its line in the audit log.
func (h *handler) fetch(ctx context.Context, raw []byte, asked token.Request, o token.Order) (token.Announcement, error) {
	r, caller, err := parseOrder(raw)
	if err != nil {
		return token.Announcement{}, h.failed(asked, err)
	}
	return h.announce(ctx, r, asked, token.Order{ID: o.ID, Caller: caller, Time: o.Time})
}

func (h *handler) announce(ctx context.Context, r, asked token.Request, o token.Order) (token.Announcement, error) {
	r.RequestID, r.Origin, r.Caller = asked.RequestID, asked.Origin, asked.Caller
	announced, err := h.vendor.Announce(ctx, r, o)
	if err != nil {
		return announced, h.failed(r, err)
	}
	return announced, nil
}

// failed counts a failure and sees to its line.
func (h *handler) failed(r token.Request, err error) error {
	h.count(countJobsFailed)
	return h.vendor.Refuse(r, err)
}

// announceAll is fetch, and tells the bus. mine is that of once.
func (h *handler) announceAll(ctx context.Context, raw []byte, asked token.Request, o token.Order, mine func() bool) error {
	announced, err := h.fetch(ctx, raw, asked, o)
	if err != nil {
		return err
	}
	return h.tell(ctx, announced, mine)
}

func (h *handler) tell(ctx context.Context, announced token.Announcement, mine func() bool) error {
	if !mine() {
		return errBusy()
	}
	if err := h.bus.Put(ctx, eventSource, eventTokenReady, encode(announced)); err != nil {
		h.count(countJobsFailed)
		h.log.Warn("not announced", "client", announced.Client, "id", announced.ID, "detail", err.Error())
		return &token.Error{Kind: token.Unavailable, Description: "the event bus did not take the announcement"}
	}
	h.count(countAnnounced)
	return nil
}

// parseOrder reads a request and, beside it, who alone may redeem its claim.
func parseOrder(raw []byte) (r token.Request, caller string, err error) {
	if len(raw) > token.MaxBody {
		return r, "", &token.Error{Kind: token.TooLarge, Description: "the request is larger than 8 KiB"}
	}
	members, err := strictjson.Object(raw, strictjson.Limits{Outer: true, Depth: maxDepth})
	if err != nil {
		return r, "", malformed("the request is " + err.Error())
	}
	if text, ok := members["caller"]; ok {
		name, _ := strictjson.String(text)
		if caller, err = policy.Caller(name); err != nil {
			return r, "", malformed("caller" + err.Error())
		}
		raw = without(members, "caller")
	}
	r, err = token.ParseJSON("", raw)
	return r, caller, err
}

// without returns the object without some of its members.
func without(members map[string]json.RawMessage, names ...string) []byte {
	for _, name := range names {
		delete(members, name)
	}
	return encode(members)
}
