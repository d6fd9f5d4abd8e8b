package messaging

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"tokenvendor/scripts/local/eventbridge"
	"tokenvendor/scripts/local/sqs"
	"tokenvendor/shared/awsapi"
)

// serve starts a service of the local stack and sets the SDK's variables for it. It returns the
// URL.
func serve(t *testing.T, service string, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	for name, value := range map[string]string{
		"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "cnry-key", "AWS_ENDPOINT_URL_" + service: server.URL,
	} {
		t.Setenv(name, value)
	}
	return server.URL
}

func load(t *testing.T) aws.Config {
	t.Helper()
	cfg, err := awsapi.LoadConfig()
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// checkError fails unless err wraps ErrFailed, names AWS's code, and repeats no text of AWS.
func checkError(t *testing.T, err error, code string) {
	t.Helper()
	if !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), code) || strings.Contains(err.Error(), "told to fail") || strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("got %v, want %s", err, code)
	}
}

func TestQueueSend(t *testing.T) {
	server := sqs.New(sqs.Config{Region: "eu-central-1", Account: "111122223333"})
	server.AddQueue("dead", sqs.Queue{})
	url := serve(t, "SQS", server)
	q := NewQueue(load(t), url+"/111122223333/dead")
	if err := q.Send(t.Context(), `{"a": "ü <&>"}`, map[string]string{"error": "access_denied", "message_id": "m-1"}); err != nil {
		t.Fatal(err)
	}
	// The SDK verified the digests of the body and of the attributes.
	if all := server.Messages("dead"); len(all) != 1 || all[0].Body != `{"a": "ü <&>"}` || all[0].Attributes["error"].StringValue != "access_denied" || len(all[0].Attributes) != 2 {
		t.Errorf("got the messages %+v, want one with two attributes", all)
	}
	checkError(t, q.Send(t.Context(), strings.Repeat("x", 1<<20+1), nil), "InvalidParameterValue")
	checkError(t, q.Send(t.Context(), "a\x00b", nil), "InvalidMessageContents")
	server.Fail("SendMessage", 1, "AccessDenied")
	checkError(t, q.Send(t.Context(), "x", nil), "AccessDenied")
	checkError(t, NewQueue(load(t), url+"/111122223333/other").Send(t.Context(), "x", nil), "QueueDoesNotExist")
	server.Fail("SendMessage", 2, "ThrottlingException")
	if err := q.Send(t.Context(), "again", nil); err != nil {
		t.Errorf("throttled twice: got %v, want no error", err)
	}
}

func TestBusPut(t *testing.T) {
	server := eventbridge.New(eventbridge.Config{Region: "eu-central-1", Account: "111122223333"})
	server.AddBus("tokens")
	serve(t, "EVENTBRIDGE", server)
	for _, name := range []string{"tokens", "arn:aws:events:eu-central-1:111122223333:event-bus/tokens"} {
		if err := NewBus(load(t), name).Put(t.Context(), "token-vendor", "TokenReady", []byte(`{"id":"m"}`)); err != nil {
			t.Fatal(err)
		}
	}
	if all := server.Events("tokens"); len(all) != 2 || all[0].Source != "token-vendor" || all[0].DetailType != "TokenReady" || string(all[0].Detail) != `{"id":"m"}` {
		t.Errorf("got the events %+v, want two", all)
	}
	b := NewBus(load(t), "tokens")
	checkError(t, b.Put(t.Context(), "token-vendor", "TokenReady", []byte("rubbish")), "")
	checkError(t, NewBus(load(t), "other").Put(t.Context(), "token-vendor", "TokenReady", []byte("{}")), "")
	server.Fail("PutEvents", 3, "InternalException")
	checkError(t, b.Put(t.Context(), "token-vendor", "TokenReady", []byte("{}")), "InternalException")
	server.Fail("PutEvents", 2, "ThrottlingException")
	if err := b.Put(t.Context(), "token-vendor", "TokenReady", []byte("{}")); err != nil {
		t.Errorf("throttled twice: got %v, want no error", err)
	}
}
