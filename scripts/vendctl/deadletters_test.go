package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenvendor/scripts/local/awsjson"
	"tokenvendor/scripts/local/sqs"
)

// buried is a stack with a dead-letter queue.
type buried struct {
	stack  string
	queues *sqs.Server
	url    string
	// ids are those of the messages of seed, by what they are.
	ids map[string]string
	// after is called after an operation by HTTP; nil: nothing is.
	after func(operation string)
}

func newBuried(t *testing.T) *buried {
	t.Helper()
	b := &buried{queues: sqs.New(sqs.Config{Region: "eu-central-1", Account: "123456789012"}), ids: make(map[string]string)}
	b.queues.AddQueue("dead", sqs.Queue{})
	b.queues.AddQueue("orders", sqs.Queue{Visibility: time.Nanosecond, DeadLetter: "dead", MaxReceives: 1})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.queues.ServeHTTP(w, r)
		if b.after != nil {
			b.after(strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AmazonSQS."))
		}
	}))
	t.Cleanup(server.Close)
	b.url, b.stack = server.URL, vendor(t)
	text, err := os.ReadFile(b.stack)
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	members["aws_url"], members["dead_letter_queue_url"], members["orders_queue_url"] = b.url, b.url+"/123456789012/dead", b.url+"/123456789012/orders"
	if text, err = json.Marshal(members); err != nil {
		t.Fatal(err)
	}
	b.stack = filepath.Join(t.TempDir(), "stack.json")
	if err := os.WriteFile(b.stack, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

// bury puts an order aside as the function does.
func (b *buried) bury(body, original string) string {
	return b.queues.Send("dead", body, map[string]string{"error": "access_denied", "error_description": "no \x1b[31mrule", "message_id": original})
}

// expire lets SQS move an order to the dead-letter queue.
func (b *buried) expire(t *testing.T, body string, attributes map[string]string) string {
	t.Helper()
	id := b.queues.Send("orders", body, attributes)
	for range 2 {
		r := httptest.NewRequest(http.MethodPost, "http://localhost/", strings.NewReader(`{"QueueUrl": "http://localhost/123456789012/orders", "VisibilityTimeout": 0}`))
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 x")
		r.Header.Set("X-Amz-Target", "AmazonSQS.ReceiveMessage")
		w := httptest.NewRecorder()
		if b.queues.ServeHTTP(w, r); w.Code != http.StatusOK {
			t.Fatalf("got %d, %s", w.Code, w.Body)
		}
	}
	return id
}

const orderBody = `{"client": "billing", "scope": "cnry-scope", "parameters": {"x": "cnry-parameter"}}`

// seed sends a message of each kind.
func (b *buried) seed(t *testing.T) {
	t.Helper()
	b.ids["order"] = b.bury(orderBody, "original-1")
	b.ids["moved"] = b.expire(t, `{"client": "orders", "x": "cnry-x"}`, map[string]string{"error": "cnry-sender", "k": "v"})
	b.ids["rubbish"] = b.bury(`cnry-rubbish`, "original-2")
	b.ids["hostile"] = b.bury(`{"client": "cnry-\u001b[31m"}`, "original-3")
	b.ids["cut"] = b.queues.Send("dead", orderBody, map[string]string{"error": "e", "error_description": "d", "message_id": "original-4", "body_bytes": "1048576"})
	b.ids["invoke"] = b.queues.Send("dead", `{"detail": "cnry-d"}`, map[string]string{"RequestID": "r", "ErrorCode": "200", "ErrorMessage": "cnry-message"})
	b.ids["rule"] = b.queues.Send("dead", `{"client": "billing"}`, map[string]string{"RULE_ARN": "cnry-arn", "ERROR_CODE": "NO_PERMISSIONS", "ERROR_MESSAGE": "cnry-arn"})
	b.ids["other"] = b.queues.Send("dead", `{"client": "billing"}`, nil)
}

// run runs a command, which must print nothing of a body but the client.
func (b *buried) run(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	out, errs, code = vendctl(t, append([]string{"--local", b.stack, "dead-letters"}, args...)...)
	if strings.Contains(out, "cnry-") || strings.ContainsRune(out, '\x1b') {
		t.Errorf("%v prints text of a message: %q", args, out)
	}
	return out, errs, code
}

// bodies returns the bodies of a queue in the order of sending.
func (b *buried) bodies(queue string) (all []string) {
	for _, m := range b.queues.Messages(queue) {
		all = append(all, m.Body)
	}
	return all
}

func TestDeadLettersAreListed(t *testing.T) {
	b := newBuried(t)
	if out, errs, code := b.run(t); code != 0 || errs != "" || strings.Count(out, "\n") != 1 {
		t.Errorf("an empty queue: got %d, %q, %q", code, out, errs)
	}
	b.seed(t)
	for range 17 {
		b.bury(orderBody, "more")
	}
	for range 2 { // the first one has hidden nothing
		out, errs, code := b.run(t, "-o", "json")
		var rows []deadRow
		if err := json.Unmarshal([]byte(out), &rows); err != nil || code != 0 || errs != "" || len(rows) != 25 {
			t.Fatalf("got %d, %q, %d rows, %v", code, errs, len(rows), err)
		}
		byID := make(map[string]deadRow)
		for _, row := range rows {
			byID[row.ID] = row
			if time.Since(row.Sent) > time.Minute || time.Since(row.Sent) < 0 {
				t.Errorf("%s: got the time %v", row.ID, row.Sent)
			}
		}
		for name, want := range map[string]deadRow{
			"order": {From: "queue", OrderID: "original-1", Client: "billing", Error: "access_denied", Description: "no \x1b[31mrule"}, "moved": {From: "queue", OrderID: b.ids["moved"], Client: "orders"},
			"rubbish": {From: "queue", OrderID: "original-2", Error: "access_denied", Description: "no \x1b[31mrule"}, "invoke": {From: "invoke", OrderID: b.ids["invoke"]},
			"rule": {From: "rule", OrderID: b.ids["rule"], Client: "billing", Error: "NO_PERMISSIONS"}, "other": {From: "other", OrderID: b.ids["other"], Client: "billing"},
		} {
			want.ID, want.Sent = b.ids[name], byID[b.ids[name]].Sent
			if got := byID[b.ids[name]]; got != want {
				t.Errorf("%s: got %+v, want %+v", name, got, want)
			}
		}
	}
	out, _, code := b.run(t)
	if code != 0 || !strings.Contains(out, "queue   billing  access_denied   no ?[31mrule") || !strings.Contains(out, "invoke  -        -") {
		t.Errorf("got %d, %s", code, out)
	}
}

// The messages of a lost answer are hidden. The command must not print the others as if they were all.
func TestLostAnswerOfSQSIsAnError(t *testing.T) {
	b := newBuried(t)
	for i := range 11 {
		b.bury(orderBody, fmt.Sprint("original-", i))
	}
	b.queues.Fail("ReceiveMessage", 1, "ThrottlingException")
	if out, errs, code := b.run(t); code != 0 || strings.Count(out, "\n") != 12 {
		t.Errorf("throttled once: got %d, %q, %q, want all messages", code, out, errs)
	}
	calls := b.queues.Calls("ReceiveMessage")
	b.queues.Inject("ReceiveMessage", 1, awsjson.Fault{Reset: true, Done: true})
	out, errs, code := b.run(t)
	if code != exitFailed || out != "" || !strings.Contains(errs, "up to 10 messages are hidden for 5m0s") || b.queues.Calls("ReceiveMessage") != calls+1 {
		t.Errorf("got %d, %q, %q after %d calls", code, out, errs, b.queues.Calls("ReceiveMessage")-calls)
	}
}

// Orders go back with the same body, and what is no order stays.
func TestRedrivePutsOrdersBack(t *testing.T) {
	b := newBuried(t)
	b.seed(t)
	before := b.bodies("dead")
	out, errs, code := b.run(t, "redrive", "--dry-run")
	if code != 0 || errs != "" || !strings.Contains(out, "4 would be put back, 4 left") || !slices.Equal(b.bodies("dead"), before) || len(b.bodies("orders")) != 0 {
		t.Fatalf("--dry-run: got %d, %q, %q, and %d orders", code, out, errs, len(b.bodies("orders")))
	}
	for _, id := range []string{b.ids["moved"], "original-2"} {
		if out, _, code := b.run(t, "redrive", "--id", id); code != 0 || !strings.Contains(out, "1 put back, 0 left") {
			t.Errorf("--id %s: got %d, %q", id, code, out)
		}
	}
	if moved := b.queues.Messages("orders")[0]; moved.Attributes["k"].StringValue != "v" {
		t.Errorf("the order has lost the attributes of its sender: %v", moved.Attributes)
	}
	for id, want := range map[string]int{b.ids["moved"]: exitNotFound, "none": exitNotFound, b.ids["rule"]: exitFailed, b.ids["cut"]: exitFailed} {
		if out, errs, code := b.run(t, "redrive", "--id", id); code != want || out != "" || want == exitFailed && !strings.Contains(errs, "is left: ") {
			t.Errorf("--id %s: got %d, %q, %q, want %d", id, code, out, errs, want)
		}
	}
	out, errs, code = b.run(t, "redrive")
	for _, want := range []string{"2 put back, 4 left", b.ids["order"] + "  billing  put back", b.ids["invoke"] + "  -  left: it came from the bus", b.ids["rule"] + "  billing  left: a rule"} {
		if code != 0 || errs != "" || !strings.Contains(out, want) {
			t.Errorf("got %d, %q, %q, want %q in it", code, out, errs, want)
		}
	}
	orders := b.bodies("orders")
	slices.Sort(orders)
	want := []string{"cnry-rubbish", `{"client": "billing", "scope": "cnry-scope", "parameters": {"x": "cnry-parameter"}}`, `{"client": "cnry-\u001b[31m"}`, `{"client": "orders", "x": "cnry-x"}`}
	if !slices.Equal(orders, want) || len(b.bodies("dead")) != 4 {
		t.Errorf("got the orders %q and %d dead letters", orders, len(b.bodies("dead")))
	}
	if out, _, code := b.run(t, "redrive", "-o", "json"); code != 0 || strings.Count(out, `"result":"left"`) != 4 {
		t.Errorf("again: got %d, %q", code, out)
	}
}

// A message is deleted only after its order was sent.
func TestRedriveLosesNoOrder(t *testing.T) {
	b := newBuried(t)
	id := b.bury(orderBody, "original-1")
	b.queues.Fail("SendMessage", 1, "AccessDenied")
	_, errs, code := b.run(t, "redrive")
	if code != exitFailed || !strings.Contains(errs, id+" is still in the dead-letter queue: the queue of orders: SQS answers AccessDenied") || len(b.bodies("dead")) != 1 || b.queues.Calls("DeleteMessage") != 0 {
		t.Errorf("no send: got %d, %q, %d dead letters", code, errs, len(b.bodies("dead")))
	}
	b.queues.Fail("DeleteMessage", 1, "AccessDenied")
	out, errs, code := b.run(t, "redrive")
	if code != exitFailed || !strings.Contains(errs, "or the order is done twice") || !strings.Contains(out, "1 put back") || len(b.bodies("dead")) != 1 || len(b.bodies("orders")) != 1 {
		t.Errorf("no delete: got %d, %q, %q", code, out, errs)
	}
	// The message is hidden from the next reader, who would put the order back a second time.
	if out, _, code = b.run(t, "redrive"); code != 0 || !strings.Contains(out, "0 put back") || len(b.bodies("orders")) != 1 {
		t.Errorf("after no delete: got %d, %q, %d orders", code, out, len(b.bodies("orders")))
	}
	b.queues.Fail("ReceiveMessage", 1, "QueueDoesNotExist")
	if _, errs, code = b.run(t); code != exitFailed || !strings.Contains(errs, "the dead-letter queue: SQS answers QueueDoesNotExist") {
		t.Errorf("no receive: got %d, %q", code, errs)
	}
}

// An order that SQS refuses does not keep the others from their queue.
func TestRedriveGoesOnAfterARefusedOrder(t *testing.T) {
	b := newBuried(t)
	for i := range 3 {
		b.bury(orderBody, fmt.Sprint("original-", i))
	}
	b.queues.Fail("SendMessage", 1, "InvalidMessageContents")
	out, errs, code := b.run(t, "redrive")
	if code != exitFailed || !strings.Contains(out, "2 put back, 1 left") || strings.Count(out, "refused: ") != 1 || !strings.Contains(errs, "has refused 1 messages") || len(b.bodies("dead")) != 1 {
		t.Errorf("got %d, %q, %q, %d dead letters", code, out, errs, len(b.bodies("dead")))
	}
	b.queues.Fail("SendMessage", 1, "InvalidMessageContents")
	if out, _, code = b.run(t, "redrive", "-o", "json"); code != exitFailed || !strings.Contains(out, `"result":"refused"`) {
		t.Errorf("json: got %d, %q", code, out)
	}
}

// An order that fails again while the command runs is put back once only.
func TestRedriveEndsIfOrdersFailAgain(t *testing.T) {
	b := newBuried(t)
	for i := range 5 {
		b.bury(orderBody, fmt.Sprint("original-", i))
	}
	b.after = func(operation string) {
		if orders := b.queues.Messages("orders"); operation == "SendMessage" {
			last := orders[len(orders)-1]
			b.bury(last.Body, last.ID)
		}
	}
	out, errs, code := b.run(t, "redrive")
	if code != 0 || errs != "" || !strings.Contains(out, "5 put back, 5 left") || strings.Count(out, "has failed again") != 5 {
		t.Errorf("got %d, %q, %q", code, out, errs)
	}
}

// SQS may have taken an order of which it has told nothing. The order must not be sent again.
func TestRedriveSendsNoOrderTwice(t *testing.T) {
	b := newBuried(t)
	id := b.bury(orderBody, "original-1")
	b.queues.Inject("SendMessage", 1, awsjson.Fault{Reset: true, Done: true})
	_, errs, code := b.run(t, "redrive")
	if code != exitFailed || !strings.Contains(errs, id+" is still in the dead-letter queue, and its order may be in the queue of orders as well") || len(b.bodies("orders")) != 1 || len(b.bodies("dead")) != 1 {
		t.Errorf("got %d, %q, %d orders, %d dead letters", code, errs, len(b.bodies("orders")), len(b.bodies("dead")))
	}
}

// Messages that cannot be released are missing in what the next command prints.
func TestMessagesThatStayHiddenAreNamed(t *testing.T) {
	for name, fault := range map[string]awsjson.Fault{
		"no answer": {Code: "AccessDenied"},
		"a part":    {Body: `{"Successful": [{"Id": "0"}], "Failed": [{"Id": "1", "SenderFault": true, "Code": "InternalError"}, {"Id": "2", "SenderFault": true, "Code": "MessageNotInflight"}]}`},
	} {
		b := newBuried(t)
		for i := range 11 {
			b.bury(orderBody, fmt.Sprint("original-", i))
		}
		b.queues.Inject("ChangeMessageVisibilityBatch", 1, fault)
		want := "vendctl: warning: " + map[string]string{"no answer": "11", "a part": "1"}[name] + " messages of the dead-letter queue are hidden from all readers for up to 5m0s: they could not be released\n"
		if out, errs, code := b.run(t); code != 0 || strings.Count(out, "\n") != 12 || errs != want {
			t.Errorf("%s: got %d, %q, %q, want %q", name, code, out, errs, want)
		}
	}
}

// An interrupt leaves no message hidden.
func TestInterruptHidesNoDeadLetter(t *testing.T) {
	b := newBuried(t)
	for i := range 10 {
		b.bury(orderBody, fmt.Sprint("original-", i))
	}
	ctx, interrupt := context.WithCancel(t.Context())
	b.after = func(operation string) {
		if operation == "ReceiveMessage" && b.queues.Calls(operation) == 2 {
			interrupt()
		}
	}
	// The answer to the last call may be there before the interrupt.
	if code := run(ctx, []string{"--local", b.stack, "dead-letters"}, io.Discard, io.Discard); code != exitInterrupted && code != 0 || ctx.Err() == nil {
		t.Errorf("got %d after an interrupt", code)
	}
	if out, _, code := b.run(t); code != 0 || strings.Count(out, "\n") != 11 {
		t.Errorf("got %d, %q, want ten messages", code, out)
	}
}

// With --stack, the URLs of the queues are outputs of the stack.
func TestDeadLettersOfAStack(t *testing.T) {
	b := newBuried(t)
	b.bury(orderBody, "original-1")
	outputs := map[string]string{"BatchDeadLetterQueueUrl": b.url + "/123456789012/dead"}
	fakeAWS(t, outputs)
	t.Setenv("AWS_ENDPOINT_URL_SQS", b.url)
	for _, test := range []struct {
		args []string
		code int
	}{
		{[]string{"--stack", "vendor", "dead-letters"}, 0},
		{[]string{"--stack", "vendor", "dead-letters", "redrive"}, exitNotFound}, // it has no queue of orders
		{[]string{"--stack", "other", "dead-letters"}, exitNotFound},
		{[]string{"dead-letters"}, exitUsage},
		{[]string{"--stack", "vendor", "dead-letters", "purge"}, exitUsage},
		{[]string{"--local", vendor(t), "dead-letters"}, exitNotFound},
	} {
		if out, errs, code := vendctl(t, test.args...); code != test.code || (code == 0) != strings.Contains(out, "billing") {
			t.Errorf("%v: got %d, %q, %q, want %d", test.args, code, out, errs, test.code)
		}
	}
	outputs["BatchQueueUrl"] = b.url + "/123456789012/orders"
	if out, errs, code := vendctl(t, "--stack", "vendor", "dead-letters", "redrive"); code != 0 || len(b.bodies("orders")) != 1 {
		t.Errorf("redrive: got %d, %q, %q", code, out, errs)
	}
}
