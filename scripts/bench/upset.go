package main

import (
	"context"
	"net/http"
	"time"

	"tokenvendor/scripts/local/awsjson"
	"tokenvendor/shared/oauth/oauthtest"
)

// upsetServers makes the servers themselves fail in ways of their own until ctx ends.
// Nothing refuses the credential: that would end the drill by the fuse.
func (s *storm) upsetServers(ctx context.Context) {
	odd := []oauthtest.Fault{
		oauthtest.WrongContentType, oauthtest.DateSkew(time.Hour), oauthtest.Echo(http.StatusBadRequest, "invalid_request"),
		oauthtest.Members(map[string]any{"expires_in": "soon"}), oauthtest.Members(map[string]any{"access_token": nil}),
	}
	s.ground.issuer.Misbehave(func(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
		if i := s.pick(5 * len(odd)); i < len(odd) {
			s.meets("authorization server", nil)
			odd[i](w, r, next, done)
			return
		}
		next.ServeHTTP(w, r)
	})
	defer s.ground.issuer.Behave()
	calls := []struct {
		operation string
		inject    func(operation string, times int, f awsjson.Fault)
		place     string
	}{
		{"GetSecretValue", s.ground.secrets.Inject, "Secrets Manager"}, {"GetItem", s.ground.table.Inject, "DynamoDB"},
		{"UpdateItem", s.ground.table.Inject, "DynamoDB"}, {"Decrypt", s.ground.keys.Inject, "KMS"}, {"Sign", s.ground.keys.Inject, "KMS"},
	}
	kinds := []awsjson.Fault{
		{Code: "ThrottlingException"}, {Code: "InternalServerError"}, {Reset: true, Done: true}, {Delay: 40 * time.Millisecond}, {Body: "{"}, {Body: "{}"},
	}
	for s.pause(ctx, 20, 200) {
		call, times := calls[s.pick(len(calls))], 1+s.pick(3)
		if call.place == "DynamoDB" {
			// See trouble: more, and the table is left alone.
			if times = 1; s.pick(10) > 0 {
				continue
			}
		}
		call.inject(call.operation, times, kinds[s.pick(len(kinds))])
		s.meets(call.place, nil)
	}
	for _, call := range calls {
		call.inject(call.operation, 0, awsjson.Fault{})
	}
}
