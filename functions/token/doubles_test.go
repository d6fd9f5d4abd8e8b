package main

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/token"
)

// vendFunc decides a request that has been read.
type vendFunc func(ctx context.Context, r token.Request) (token.Grant, error)

// fakeVendor is a core that answers with vend. Like the real core it catches panics.
type fakeVendor struct {
	vend vendFunc
	log  *slog.Logger
}

func (v fakeVendor) Vend(ctx context.Context, read func(*token.Request) error) (grant token.Grant, err error) {
	var r token.Request
	err = fault.Catch(v.log, &r.RequestID, func() (err error) {
		if err = read(&r); err == nil {
			grant, err = v.vend(ctx, r)
		}
		return err
	})
	return grant, err
}

// fakeHandler is the real handler with a core that answers with vend.
func fakeHandler(vend vendFunc, g gate, logs io.Writer) *handler {
	h := testHandler(nil, g, logs)
	h.vendor = fakeVendor{vend, h.log}
	return h
}

// countingVendor is the real core. It counts the requests that the handler reads without an
// error.
type countingVendor struct {
	*token.Vendor
	vends *atomic.Int64
}

func (v countingVendor) Vend(ctx context.Context, read func(*token.Request) error) (token.Grant, error) {
	return v.Vendor.Vend(ctx, func(r *token.Request) error {
		err := read(r)
		if err == nil {
			v.vends.Add(1)
		}
		return err
	})
}
