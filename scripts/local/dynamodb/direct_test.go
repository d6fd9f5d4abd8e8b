package dynamodb_test

import (
	"encoding/json"
	"errors"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"tokenvendor/scripts/local/awsjson"
	local "tokenvendor/scripts/local/dynamodb"
)

// own is a server of our own, for what only it can be asked: its clock, its
// faults, what gets past its API.
type own struct {
	*suite
	server *local.Server
	now    time.Time // of the server
}

func newOwn(t *testing.T) *own {
	o := &own{now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}
	o.server = local.New(local.Config{Region: "eu-central-1", Account: "123456789012", Now: func() time.Time { return o.now }})
	if err := o.server.AddTable("leases", "id", "end"); err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewServer(o.server)
	t.Cleanup(ts.Close)
	o.suite = &suite{t, newClient(ts.URL), aws.String("leases"), true}
	return o
}

func request(operation, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://localhost/", strings.NewReader(body))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=x/20261101/eu-central-1/dynamodb/aws4_request, SignedHeaders=host, Signature=x")
	r.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
	return r
}

// ask returns the answer to a body in which ' stands for ".
func (o *own) ask(operation, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	o.server.ServeHTTP(w, request(operation, strings.ReplaceAll(body, "'", `"`)))
	return w
}

// TestAnswers: type, status and checksum, which the SDK looks at, of all answers.
func TestAnswers(t *testing.T) {
	o := newOwn(t)
	o.put(item("a"))
	for _, tt := range []struct {
		operation, body string
		status          int
		want            string
	}{
		{"GetItem", `{'TableName':'leases','Key':{'id':{'S':'b'}}}`, 200, `{}`},
		{"GetItem", `{'TableName':'leases','Key':{'id':{'S':'a'}},'ProjectionExpression':'n'}`, 200, `{"Item":{"n":{"N":"5"}}}`},
		{"GetItem", `{'TableName':'leases','Key':{'id':{'S':'a'}},'ProjectionExpression':'absent'}`, 200, `{"Item":{}}`},
		{"DeleteItem", `{'TableName':'leases','Key':{'id':{'S':'a'}},'ConditionExpression':'attribute_not_exists(id)'}`, 400, `"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"`},
		{"GetItem", `{'TableName':'other','Key':{'id':{'S':'a'}}}`, 400, `"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException"`},
		{"GetItem", `{}`, 400, `"__type":"com.amazon.coral.validate#ValidationException"`},
		{"GetItem", `{'Key':{'id':{'S':1}}}`, 400, `"__type":"com.amazon.coral.service#SerializationException"`},
		{"GetItem", `{'Key':{'id':{}}}`, 400, `"__type":"com.amazon.coral.validate#ValidationException"`},
		{"GetItem", `{'Key':{'id':{'X':'a'}}}`, 400, `"__type":"com.amazon.coral.validate#ValidationException"`},
		{"GetItem", `{'Key':{'id':{'S':'a','N':'1'}}}`, 400, `"__type":"com.amazon.coral.validate#ValidationException"`},
		{"GetItem", `{'TableName':'leases','Key':{'id':{'S':'a'}},'AttributesToGet':['n']}`, 400, `ValidationException`},
		{"PutItem", `{'TableName':'leases','Item':{'id':{'S':'a'}},'Expected':{}}`, 400, `ValidationException`},
		{"UpdateItem", `{'TableName':'leases','Key':{'id':{'S':'a'}},'AttributeUpdates':{}}`, 400, `ValidationException`},
		{"Scan", `{'TableName':'leases','Segment':0,'TotalSegments':2}`, 400, `ValidationException`},
		{"Query", `{'TableName':'leases'}`, 400, `"__type":"com.amazon.coral.service#UnknownOperationException"`},
	} {
		w := o.ask(tt.operation, tt.body)
		if body := w.Body.String(); w.Code != tt.status || !strings.Contains(body, tt.want) || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %s: %d %s", tt.operation, tt.body, w.Code, body)
		}
		if got := w.Header().Get("X-Amz-Crc32"); got != strconv.FormatUint(uint64(crc32.ChecksumIEEE(w.Body.Bytes())), 10) {
			t.Errorf("%s: checksum is %q", tt.operation, got)
		}
	}
}

// TestFaults: what the SDK makes of them.
func TestFaults(t *testing.T) {
	o := newOwn(t)
	put := func() error {
		_, err := o.api.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: o.table, Item: key("a"), ConditionExpression: aws.String("attribute_not_exists(id)")})
		return err
	}
	o.server.Fail("PutItem", 1, "ProvisionedThroughputExceededException")
	var throttled *types.ProvisionedThroughputExceededException
	if err := put(); !errors.As(err, &throttled) {
		t.Errorf("error is %v", err)
	}
	for name, f := range map[string]awsjson.Fault{"garbage": {Body: "<html>"}, "reset": {Reset: true}, "error": {Code: "InternalServerError"}} {
		o.server.Inject("PutItem", 1, f)
		if err := put(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	o.wantItem(o.get("a"), nil)
	// A write that was done, but whose answer was lost, meets itself when repeated.
	o.server.Inject("PutItem", 1, awsjson.Fault{Reset: true, Done: true})
	if err := put(); err == nil {
		t.Error("no error")
	}
	o.wantCode(put(), failed)
	o.wantItem(o.get("a"), key("a"))
	if n := o.server.Calls("PutItem"); n != 6 {
		t.Errorf("%d calls, want 6", n)
	}
}

// TestSweep: only what TTL would delete goes, and only then.
func TestSweep(t *testing.T) {
	o := newOwn(t)
	at := func(d time.Duration) types.AttributeValue {
		return number(strconv.FormatInt(o.now.Add(d).Unix(), 10))
	}
	for id, end := range map[string]types.AttributeValue{
		"past": at(-time.Second), "fraction": number(strconv.FormatInt(o.now.Unix()-1, 10) + ".9"), "now": at(0), "future": at(time.Hour), "text": text("1000000000"),
		"ages ago": at(-6 * 365 * 24 * time.Hour), "huge": number("1e100"), "negative": number("-5"), "none": nil,
	} {
		o.put(with(key(id), attributes{"end": end}))
	}
	o.wantItem(o.get("past"), attributes{"id": text("past"), "end": at(-time.Second)})
	if n := o.server.Sweep(); n != 2 {
		t.Errorf("%d deleted, want 2", n)
	}
	var left []string
	for _, i := range o.server.Items("leases") {
		left = append(left, i["id"].Text)
	}
	if !slices.Equal(left, []string{"ages ago", "future", "huge", "negative", "none", "now", "text"}) {
		t.Errorf("left are %q", left)
	}
	o.now = o.now.Add(2 * time.Hour)
	if n := o.server.Sweep(); n != 2 {
		t.Errorf("%d deleted, want 2", n)
	}
}

// TestPut: what could not be written is read as it is, and harms no condition.
func TestPut(t *testing.T) {
	o := newOwn(t)
	poison := local.Item{"id": local.String("a"), "n": local.Number("five"), "data": local.Binary([]byte{0}), "owner": local.String("evil")}
	if err := o.server.Put("leases", poison); err != nil {
		t.Fatal(err)
	}
	poison["owner"] = local.String("changed afterwards")
	o.wantItem(o.get("a"), attributes{"id": text("a"), "n": number("five"), "data": bytesOf("\x00"), "owner": text("evil")})
	for condition, want := range map[string]string{"n = :five": failed, "n < :five": failed, "n <> :five": ""} {
		_, err := o.api.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{TableName: o.table, Key: key("a"), UpdateExpression: aws.String("SET x = :five"), ConditionExpression: &condition, ExpressionAttributeValues: only(values(), condition)})
		o.wantCode(err, want)
	}
	_, err := o.api.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{TableName: o.table, Key: key("a"), UpdateExpression: aws.String("ADD n :five"), ExpressionAttributeValues: only(values(), ":five")})
	o.wantCode(err, invalid)
	for name, err := range map[string]error{
		"no table": o.server.Put("other", poison), "no key": o.server.Put("leases", local.Item{}), "table twice": o.server.AddTable("leases", "id", ""),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if items := o.server.Items("other"); items != nil {
		t.Errorf("items are %v", items)
	}
}

// TestItemsJSON: an item can be written down and put back.
func TestItemsJSON(t *testing.T) {
	o := newOwn(t)
	o.put(item("a"))
	before, err := json.Marshal(o.server.Items("leases"))
	if err != nil {
		t.Fatal(err)
	}
	var items []local.Item
	if err := json.Unmarshal(before, &items); err != nil || len(items) != 1 {
		t.Fatalf("%v, %d items", err, len(items))
	}
	if err := o.server.Put("leases", items[0]); err != nil {
		t.Fatal(err)
	}
	o.wantItem(o.get("a"), item("a"))
}

// TestStale: a read that does not ask to be consistent is one write behind.
func TestStale(t *testing.T) {
	o := newOwn(t)
	o.server.SetStale(true)
	read := func() attributes {
		out, err := o.api.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: o.table, Key: key("a")})
		if err != nil {
			t.Fatal(err)
		}
		return out.Item
	}
	first, second := attributes{"id": text("a"), "n": number("1")}, attributes{"id": text("a"), "n": number("2")}
	o.put(first)
	o.wantItem(read(), nil)
	o.wantItem(o.get("a"), first)
	o.put(second)
	o.wantItem(read(), first)
	o.wantItem(o.get("a"), second)
	if _, err := o.api.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: o.table, Key: key("a")}); err != nil {
		t.Fatal(err)
	}
	o.wantItem(read(), second)
	o.wantItem(o.get("a"), nil)
	o.put(first)
	o.server.SetStale(false)
	o.wantItem(read(), first)
}

// TestScanPage: a page ends after 1 MB.
func TestScanPage(t *testing.T) {
	o := newOwn(t)
	for n := range 8 {
		o.put(attributes{"id": text(strconv.Itoa(n)), "v": text(strings.Repeat("x", 300_000))})
	}
	total, pages := 0, 0
	for pager := dynamodb.NewScanPaginator(o.api, &dynamodb.ScanInput{TableName: o.table}); pager.HasMorePages(); pages++ {
		out, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		total += len(out.Items)
	}
	if total != 8 || pages != 3 {
		t.Errorf("%d items on %d pages", total, pages)
	}
}

// FuzzExpressions: whatever an expression is, it is answered, and what was
// refused has changed nothing.
func FuzzExpressions(f *testing.F) {
	for _, tt := range conditions {
		f.Add(tt.expression, "SET n = n + :one", "id, n")
	}
	for _, update := range []string{"SET a = if_not_exists(a, :one) - :two, b = :x REMOVE n ADD c :five", "REMOVE a.b", "SET n = (n + :one)"} {
		f.Add("attribute_exists(id)", update, "#words, #nothing")
	}
	f.Fuzz(func(t *testing.T, condition, update, projection string) {
		server := newServer()
		if err := server.AddTable("leases", "id", ""); err != nil {
			t.Fatal(err)
		}
		before := local.Item{"id": local.String("a"), "n": local.Number("5"), "owner": local.String("me")}
		if err := server.Put("leases", before); err != nil {
			t.Fatal(err)
		}
		in := map[string]any{"TableName": "leases", "Key": local.Item{"id": local.String("a")}, "UpdateExpression": update, "ConditionExpression": condition}
		if used := only(names(), condition, update); used != nil {
			in["ExpressionAttributeNames"] = used
		}
		if used := only(map[string]local.Value{":five": local.Number("5"), ":one": local.Number("1"), ":two": local.Number("2"), ":x": local.String("x"), ":me": local.String("me")}, condition, update); used != nil {
			in["ExpressionAttributeValues"] = used
		}
		status := answer(t, server, "UpdateItem", in)
		if got := server.Items("leases"); len(got) != 1 || got[0]["id"].Text != "a" || status != http.StatusOK && len(got[0]) != 3 {
			t.Errorf("status %d, items %v", status, got)
		}
		answer(t, server, "Scan", map[string]any{"TableName": "leases", "ProjectionExpression": projection})
	})
}

// answer wants one of JSON, and returns its status.
func answer(t *testing.T, server *local.Server, operation string, in any) int {
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	server.ServeHTTP(w, request(operation, string(body)))
	if !json.Valid(w.Body.Bytes()) || w.Code != http.StatusOK && w.Code != http.StatusBadRequest {
		t.Errorf("%s: %d %s", operation, w.Code, w.Body)
	}
	return w.Code
}

// FuzzRequest: whatever comes, the answer is JSON.
func FuzzRequest(f *testing.F) {
	f.Add("PutItem", `{"TableName":"leases","Item":{"id":{"S":"a"},"n":{"N":"1e125"},"m":{"M":{"k":{"L":[null,{"BS":["AA=="]}]}}}}}`)
	f.Add("GetItem", `{"TableName":"leases","Key":{"id":{"S":"a"}},"ExpressionAttributeNames":{"#":"x"}}`)
	f.Add("Scan", `{"TableName":"leases","Limit":1,"ExclusiveStartKey":{"id":{"S":"a"}}}`)
	f.Add("UpdateItem", `{"TableName":"leases","Key":{"id":{"S":"a"}},"UpdateExpression":"ADD n :n","ExpressionAttributeValues":{":n":{"N":"-1e-130"}}}`)
	f.Add("CreateTable", `{"TableName":"abc","KeySchema":[{}],"AttributeDefinitions":[]}`)
	f.Add("ListTables", `{"Limit":0}`)
	f.Fuzz(func(t *testing.T, operation, body string) {
		server := newServer()
		if err := errors.Join(server.AddTable("leases", "id", ""), server.Put("leases", local.Item{"id": local.String("a"), "n": local.Number("5")})); err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		server.ServeHTTP(w, request(operation, body))
		if !json.Valid(w.Body.Bytes()) || w.Code != http.StatusOK && w.Code != http.StatusBadRequest {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// TestListTables: page by page.
func TestListTables(t *testing.T) {
	o := newOwn(t)
	for _, name := range []string{"tokens", "batches", "audit"} {
		if err := o.server.AddTable(name, "id", ""); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for pager := dynamodb.NewListTablesPaginator(o.api, &dynamodb.ListTablesInput{Limit: aws.Int32(3)}); pager.HasMorePages(); {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, page.TableNames...)
	}
	if !slices.Equal(names, []string{"audit", "batches", "leases", "tokens"}) {
		t.Errorf("names are %q", names)
	}
	_, err := o.api.ListTables(t.Context(), &dynamodb.ListTablesInput{Limit: aws.Int32(101)})
	o.wantCode(err, invalid)
}

// TestProvisioned: a table may have limits, which limit nothing here.
func TestProvisioned(t *testing.T) {
	o := newOwn(t)
	in := tableInput("provisioned")
	in.BillingMode = ""
	in.ProvisionedThroughput = &types.ProvisionedThroughput{ReadCapacityUnits: aws.Int64(1), WriteCapacityUnits: aws.Int64(2)}
	out, err := o.api.CreateTable(t.Context(), in)
	if err != nil || out.TableDescription.TableStatus != types.TableStatusCreating || *out.TableDescription.ProvisionedThroughput.WriteCapacityUnits != 2 {
		t.Errorf("%+v, %v", out, err)
	}
}
