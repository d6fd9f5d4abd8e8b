package main

import (
	"context"
	"net/http"
	"sync"
	"time"

	"tokenvendor/scripts/local/awsjson"
	"tokenvendor/shared/oauth/oauthtest"
)

// inject makes faults until ctx ends: the proxy in front of every server makes trouble for
// a while and then stops, the servers themselves fail, and processes freeze.
func (r *faultRun) inject(ctx context.Context) {
	var all sync.WaitGroup
	for server, proxy := range r.env.proxies {
		all.Go(func() { r.injectAtProxy(ctx, server, proxy) })
	}
	all.Go(func() { r.injectAtServers(ctx) })
	all.Go(func() { r.freezeProcesses(ctx) })
	all.Wait()
}

func (r *faultRun) injectAtProxy(ctx context.Context, server string, proxy *oauthtest.Proxy) {
	kinds := oauthtest.Troubles()
	least, most := 50, 400
	if server == "DynamoDB" {
		// After two failures in a row a process does not use the table for 30 seconds, in
		// which no fault could happen there.
		least, most = 800, 2500
	}
	for r.pause(ctx, least, most) {
		met := proxy.Met()
		r.count(server, proxy.Make(kinds[r.pick(len(kinds))]))
		for end := time.Now().Add(time.Duration(20+r.pick(230)) * time.Millisecond); time.Now().Before(end) && r.pause(ctx, 2, 5); {
			if server == "DynamoDB" && proxy.Met() > met {
				break
			}
		}
		r.count("", proxy.Make(oauthtest.Trouble{}))
	}
}

func (r *faultRun) freezeProcesses(ctx context.Context) {
	for r.pause(ctx, 200, 1500) {
		function := r.fleet[r.pick(len(r.fleet))]
		if err := function.Freeze(); err != nil {
			continue // it does not run yet, or this system cannot freeze processes
		}
		r.count("process", nil)
		r.pause(ctx, 20, 600)
		r.count("", function.Thaw())
	}
}

// injectAtServers makes the servers answer with errors, late and with broken bodies. None
// of these faults refuses a credential: the lockout would end the run. A 400 would, because the
// proxy may cut its body off, in which there may be invalid_client then.
func (r *faultRun) injectAtServers(ctx context.Context) {
	odd := []oauthtest.Fault{
		oauthtest.WrongContentType, oauthtest.DateSkew(time.Hour), oauthtest.Echo(http.StatusUnprocessableEntity, "invalid_request"),
		oauthtest.Members(map[string]any{"expires_in": "soon"}), oauthtest.Members(map[string]any{"access_token": nil}),
	}
	r.env.issuer.Misbehave(func(w http.ResponseWriter, request *http.Request, next http.Handler, done <-chan struct{}) {
		if i := r.pick(5 * len(odd)); i < len(odd) {
			r.count("authorization server", nil)
			odd[i](w, request, next, done)
			return
		}
		next.ServeHTTP(w, request)
	})
	defer r.env.issuer.Behave()
	calls := []struct {
		operation string
		inject    func(operation string, times int, f awsjson.Fault)
		server    string
	}{
		{"GetSecretValue", r.env.secrets.Inject, "Secrets Manager"}, {"GetItem", r.env.table.Inject, "DynamoDB"},
		{"UpdateItem", r.env.table.Inject, "DynamoDB"}, {"Decrypt", r.env.keys.Inject, "KMS"}, {"Sign", r.env.keys.Inject, "KMS"},
	}
	kinds := []awsjson.Fault{
		{Code: "ThrottlingException"}, {Code: "InternalServerError"}, {Reset: true, Done: true}, {Delay: 40 * time.Millisecond}, {Body: "{"}, {Body: "{}"},
	}
	for r.pause(ctx, 20, 200) {
		call, times := calls[r.pick(len(calls))], 1+r.pick(3)
		if call.server == "DynamoDB" {
			// As in injectAtProxy: with more failures the processes do not use the table.
			if times = 1; r.pick(10) > 0 {
				continue
			}
		}
		call.inject(call.operation, times, kinds[r.pick(len(kinds))])
		r.count(call.server, nil)
	}
	for _, call := range calls {
		call.inject(call.operation, 0, awsjson.Fault{})
	}
}

// count counts a fault of a server, or none for "". An error is one of the injection.
func (r *faultRun) count(server string, err error) {
	if err != nil {
		r.checks.problem("a fault could not be injected: %v", err)
	}
	if server != "" {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.injected[server]++
	}
}
