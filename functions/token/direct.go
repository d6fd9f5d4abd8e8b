package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/strictjson"
	"tokenvendor/shared/token"
)

const (
	// maxRequests is how many requests one direct invoke may hold.
	maxRequests = 100
	// maxParallel is how many of them are answered at once.
	maxParallel = 8
	// maxAnswer keeps a list of answers below Lambda's 6 MB.
	maxAnswer = 5_500_000
)

// direct answers {"client": …} with the token JSON and {"requests": […]} with
// {"responses": […]}, one token JSON or error document for each, in order.
func (h *handler) direct(ctx context.Context, payload []byte) ([]byte, error) {
	list, err := requestList(payload)
	if err != nil {
		return nil, functionError(h.vendor.Refuse(directRequest(ctx), err))
	}
	if list != nil {
		return h.batch(ctx, list), nil
	}
	answer, failure := h.one(ctx, payload)
	if failure != nil {
		return nil, functionError(failure)
	}
	return answer, nil
}

// requestList returns the items of "requests"; nil when the payload is a single
// request.
func requestList(payload []byte) ([]json.RawMessage, error) {
	members, err := strictjson.Object(payload, strictjson.Limits{Outer: true, Depth: 16})
	var duplicate *strictjson.DuplicateError
	switch {
	case errors.As(err, &duplicate):
		return nil, malformed(duplicate.Error())
	case err != nil:
		return nil, malformed("the event is neither of API Gateway nor a request: " + err.Error())
	}
	raw, ok := members["requests"]
	if !ok {
		return nil, nil
	}
	var list []json.RawMessage
	if len(members) > 1 || json.Unmarshal(raw, &list) != nil || len(list) == 0 || len(list) > maxRequests {
		return nil, malformed("requests must be a list of 1 to 100 requests, and the only member")
	}
	return list, nil
}

func malformed(description string) error {
	return &token.Error{Kind: token.Malformed, Description: description}
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
	defer h.rescue(asked.RequestID, &err)
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

// batch answers each request in its place; a bad one doesn't spoil the others.
func (h *handler) batch(ctx context.Context, list []json.RawMessage) []byte {
	answers := make([][]byte, len(list))
	places := make(chan struct{}, maxParallel)
	var all sync.WaitGroup
	for i, raw := range list {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			answer, failure := h.one(ctx, raw)
			if failure != nil {
				answer = errorJSON(failure, requestID(ctx))
			}
			answers[i] = answer
		})
	}
	all.Wait()
	return joinAnswers(answers, requestID(ctx))
}

func joinAnswers(answers [][]byte, id string) []byte {
	tooLarge := errorJSON(&token.Error{Kind: token.TooLarge, Description: "the answers together are larger than Lambda allows; ask for fewer"}, id)
	out := []byte(`{"responses":[`)
	for i, answer := range answers {
		if i > 0 {
			out = append(out, ',')
		}
		if len(out)+len(answer) > maxAnswer {
			answer = tooLarge
		}
		out = append(out, answer...)
	}
	return append(out, "]}"...)
}

// directRequest is what is known of a direct invoke before its payload is read. Who
// may call which alias is IAM's decision, so the alias stands for the caller.
func directRequest(ctx context.Context) token.Request {
	r := token.Request{RequestID: requestID(ctx), Caller: "direct", Origin: audit.Origin{Source: audit.Direct, Alias: invokedAlias(ctx)}}
	if r.Origin.Alias != "" {
		r.Caller += ":" + r.Origin.Alias
	}
	return r
}

// invokedAlias returns the alias that Lambda was asked for; empty: the function
// itself. Lambda sets it, not the caller. The ARN itself is not logged.
func invokedAlias(ctx context.Context) string {
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		// arn:aws:lambda:region:account:function:name[:alias]
		if parts := strings.Split(lc.InvokedFunctionArn, ":"); len(parts) == 8 {
			return parts[7]
		}
	}
	return ""
}
