package client

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

const (
	functionARN = "arn:aws:lambda:eu-central-1:111122223333:function:vendor:direct"
	batchARN    = "arn:aws:lambda:eu-central-1:111122223333:function:batch:jobs"
)

func TestFunctionIsInvokedDirectly(t *testing.T) {
	for arn, host := range map[string]string{
		functionARN: "lambda.eu-central-1.amazonaws.com",
		"arn:aws-cn:lambda:cn-north-1:111122223333:function:vendor:direct":         "lambda.cn-north-1.amazonaws.com.cn",
		"arn:aws-eusc:lambda:eusc-de-east-1:111122223333:function:vendor":          "lambda.eusc-de-east-1.amazonaws.eu",
		"arn:aws-us-gov:lambda:us-gov-west-1:111122223333:function:vendor:$LATEST": "lambda.us-gov-west-1.amazonaws.com",
	} {
		v := &vendor{}
		mustToken(t, newClient(t, v, arn), Request{Client: "billing"})
		got := v.last()
		if got.host != host || got.path != "/2015-03-31/functions/"+arn+"/invocations" || got.body["client"] != "billing" || !strings.Contains(got.authorization, "/lambda/aws4_request") {
			t.Errorf("%s: got %+v", arn, got)
		}
	}
}

// The API and the function can stand in for each other.
func TestFunctionServesWhenTheAPIFails(t *testing.T) {
	v := &vendor{answer: func(c call, _ int) (int, string, string) {
		if strings.HasPrefix(c.host, "lambda.") {
			return 200, "", `{"access_token":"t"}`
		}
		return 503, "", ""
	}}
	mustToken(t, newClient(t, v, firstURL, functionARN), Request{Client: "billing"})
	if v.count() != 2 {
		t.Errorf("got %d calls, want 2", v.count())
	}
}

func TestErrorsOfADirectInvoke(t *testing.T) {
	for body, want := range map[string]Error{
		`{"errorType":"access_denied","errorMessage":"no"}`:                {Status: http.StatusForbidden, Code: "access_denied", Description: "no"},
		`{"errorType":"invalid_scope","errorMessage":"scope"}`:             {Status: http.StatusBadRequest, Code: "invalid_scope", Description: "scope"},
		`{"errorType":"temporarily_unavailable","errorMessage":"wait"}`:    {Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable", Description: "wait"},
		`{"errorType":"server_error","errorMessage":"the document"}`:       {Status: http.StatusBadGateway, Code: "server_error", Description: "the document"},
		`{"errorType":"Sandbox.Timedout","errorMessage":"` + canary + `"}`: {Status: http.StatusBadGateway, Description: "the function failed without an answer"},
		`{"errorType":1,"errorMessage":"` + canary + `"}`:                  {Status: http.StatusBadGateway, Description: "the function failed without an answer"},
		canary: {Status: http.StatusBadGateway, Description: "the function failed without an answer"},
	} {
		v := &vendor{answer: func(call, int) (int, string, string) { return 200, "X-Amz-Function-Error: Unhandled", body }}
		_, err := newClient(t, v, functionARN).Token(t.Context(), Request{Client: "billing"})
		var failure *Error
		if !errors.As(err, &failure) {
			t.Fatalf("%s: got %v", body, err)
		}
		if failure.Status != want.Status || failure.Code != want.Code || failure.Description != want.Description {
			t.Errorf("%s: got %+v, want %+v", body, failure, want)
		}
	}
	v := &vendor{answer: func(call, int) (int, string, string) { return 404, "", `{"Message":"Function not found: arn:x"}` }}
	_, err := newClient(t, v, functionARN).Token(t.Context(), Request{Client: "billing"})
	if err == nil || !strings.Contains(err.Error(), "no such function") || strings.Contains(err.Error(), "arn:") {
		t.Errorf("got %v, want that there is no such function", err)
	}
}

// Invoke sends the event as it is, once, to one function.
func TestInvokeSendsTheEvent(t *testing.T) {
	v := &vendor{answer: func(call, int) (int, string, string) { return 200, "", `{"results":[]}` }}
	answer, err := newClient(t, v, batchARN).Invoke(t.Context(), []byte(`{"radar":["billing"]}`))
	if err != nil || string(answer) != `{"results":[]}` {
		t.Errorf("got %s, %v", answer, err)
	}
	got := v.last()
	if got.path != "/2015-03-31/functions/"+batchARN+"/invocations" || len(got.body) != 1 || got.body["radar"] == nil || !strings.Contains(got.authorization, "/eu-central-1/lambda/aws4_request") {
		t.Errorf("got %+v", got)
	}
	for _, urls := range [][]string{{firstURL}, {batchARN, functionARN}} {
		if _, err := newClient(t, v, urls...).Invoke(t.Context(), []byte(`{}`)); err == nil || v.count() != 1 {
			t.Errorf("%v: got %v after %d calls, want an error and none", urls, err, v.count()-1)
		}
	}
}

func TestInvokeReturnsErrors(t *testing.T) {
	for _, test := range []struct {
		status       int
		header, body string
		want         Error
	}{
		{200, "X-Amz-Function-Error: Unhandled", `{"errorType":"temporarily_unavailable","errorMessage":"d"}`, Error{Status: 503, Code: "temporarily_unavailable"}},
		{404, "", `{"Message":"Function not found: ` + canary + `"}`, Error{Status: 404}},
		{0, "", "", Error{Code: "temporarily_unavailable"}},
	} {
		v := &vendor{answer: func(call, int) (int, string, string) { return test.status, test.header, test.body }}
		_, err := newClient(t, v, batchARN).Invoke(t.Context(), []byte(`{}`))
		var failure *Error
		if !errors.As(err, &failure) || failure.Status != test.want.Status || failure.Code != test.want.Code || v.count() != 1 {
			t.Errorf("%d %s: got %v after %d calls", test.status, test.body, err, v.count())
		}
		if strings.Contains(fmt.Sprint(err), canary) {
			t.Errorf("%d: the error shows the text of another", test.status)
		}
	}
}
