package main

import (
	"context"
	"log/slog"
	"time"

	"tokenvendor/shared/invocation"
	"tokenvendor/shared/token"
)

// vendor is the core, as far as this function needs it.
type vendor interface {
	Vend(ctx context.Context, r token.Request) (token.Grant, error)
	Refuse(r token.Request, err error) *token.Error
}

// handler answers events. It takes and returns bytes: Lambda's typed handlers
// decode every event by reflection into all of its members. It is safe for
// concurrent use.
type handler struct {
	vendor vendor
	gate   gate
	log    *slog.Logger
	// flush writes the metrics; nil: there are none.
	flush func()
	now   func() time.Time
}

// Invoke implements lambda.Handler. An error is what [invocation.Failure] returns.
func (h *handler) Invoke(ctx context.Context, payload []byte) (answer []byte, err error) {
	ctx, cancel := invocation.WithMargin(ctx)
	defer cancel()
	if h.flush != nil {
		defer h.flush()
	}
	defer func() { err = invocation.Failure(err) }()
	defer invocation.Rescue(h.log, invocation.RequestID(ctx), &err)
	e := readEvent(payload)
	if !e.http {
		return h.direct(ctx, payload)
	}
	return h.http(ctx, &e, payload), nil
}
