package main

import (
	"context"
	"log/slog"
	"time"

	"tokenvendor/shared/app"
	"tokenvendor/shared/invocation"
	"tokenvendor/shared/token"
)

// vendor is the core, as far as this function needs it.
type vendor interface {
	Vend(ctx context.Context, read func(*token.Request) error) (token.Grant, error)
}

// handler answers events. It takes and returns bytes, because Lambda's typed handlers decode
// every event by reflection into all of its members. It is safe for concurrent use.
type handler struct {
	vendor vendor
	gate   gate
	log    *slog.Logger
	// flush writes the metrics. It is called after each event.
	flush func()
	now   func() time.Time
}

// newHandler returns the handler of a function.
func newHandler(a *app.App) *handler {
	env := a.Environment
	return &handler{
		vendor: a.Vendor, flush: a.Metrics.Flush, log: a.Log, now: time.Now,
		gate: gate{proof: env.EnvelopeProof, alias: env.HTTPAlias, urlAlias: env.URLAlias, samLocal: env.SAMLocal},
	}
}

// Invoke implements lambda.Handler. An error is that of [invocation.Run].
func (h *handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	defer h.flush()
	return invocation.Run(ctx, h.log, func(ctx context.Context) ([]byte, error) {
		e := readEvent(payload)
		if !e.http {
			return h.direct(ctx, payload)
		}
		return h.http(ctx, &e, payload), nil
	})
}
