package awsapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	localdynamodb "tokenvendor/scripts/local/dynamodb"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/fleet/fleettest"
)

// newTable returns an empty table at the endpoint that DYNAMODB_URL names, such as moto_server
// or dynalite, or else of the local stack.
func newTable(t *testing.T) (*Table, *dynamodb.Client) {
	t.Helper()
	url := os.Getenv("DYNAMODB_URL")
	if url == "" {
		server := httptest.NewServer(localdynamodb.New(localdynamodb.Config{Region: "eu-central-1", Account: "123456789012"}))
		t.Cleanup(server.Close)
		url = server.URL
	}
	cfg := configOf(t, "AWS_ENDPOINT_URL_DYNAMODB", url)
	client, name := dynamodb.NewFromConfig(cfg), fmt.Sprintf("table-%d", rand.Uint64())
	_, err := client.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String(attributeName), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String(attributeName), KeyType: types.KeyTypeHash}},
	})
	if err != nil {
		t.Fatal(err)
	}
	waiter := dynamodb.NewTableExistsWaiter(client, func(o *dynamodb.TableExistsWaiterOptions) { o.MinDelay = 10 * time.Millisecond })
	if err := waiter.Wait(t.Context(), &dynamodb.DescribeTableInput{TableName: &name}, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	return NewTable(cfg, name), client
}

// DynamoDB and the table in memory, which the tests of fleet and token use, give the same
// results for the same random operations.
func TestTableBehavesAsTableInMemory(t *testing.T) {
	table, _ := newTable(t)
	var model fleettest.Table
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for step := range 300 {
		item := randomItem(random)
		present, _ := model.Get(t.Context(), item.Name)
		condition := randomCondition(random, present)
		old, ok, err := table.Update(t.Context(), item, condition)
		wantOld, wantOK, _ := model.Update(t.Context(), item, condition)
		if err != nil || ok != wantOK || !reflect.DeepEqual(old, wantOld) {
			t.Fatalf("seed %d, step %d: Update of %+v if %+v: got %+v, %v, %v, want %+v, %v", seed, step, item, condition, old, ok, err, wantOld, wantOK)
		}
		got, err := table.Get(t.Context(), item.Name)
		want, _ := model.Get(t.Context(), item.Name)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d, step %d: Get: got %+v, %v, want %+v", seed, step, got, err, want)
		}
	}
	if got, err := table.Get(t.Context(), "absent"); got != nil || err != nil {
		t.Errorf("got %+v, %v, want no row", got, err)
	}
}

// A response is read whole although net/http has not seen the end of the request's body.
func TestLargeRowIsRead(t *testing.T) {
	if testing.Short() {
		t.Skip("megabytes take longer than a call may with the race detector")
	}
	table, _ := newTable(t)
	row := fleet.Item{Name: "row", Until: 1, State: []byte("s"), Value: bytes.Repeat([]byte("v"), 380<<10)}
	if _, ok, err := table.Update(t.Context(), row, fleet.Condition{Any: true}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	for i := range 100 {
		if i%10 == 0 {
			if _, ok, err := table.Update(t.Context(), row, fleet.Condition{OwnedBy: "x"}); ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		got, err := table.Get(t.Context(), "row")
		if err != nil || !reflect.DeepEqual(got, &row) {
			t.Fatalf("read %d: %v", i, err)
		}
	}
}

func randomItem(random *rand.Rand) fleet.Item {
	item := fleet.Item{
		Name: fmt.Sprint("row", random.IntN(3)), Until: 1 + random.Int64N(10), ExpiresAt: 1 + random.Int64N(10),
		State: []byte{byte(random.IntN(3))},
	}
	if random.IntN(2) == 0 {
		item.Owner = fmt.Sprint("owner", random.IntN(3))
	}
	if random.IntN(2) == 0 {
		item.Value = []byte{byte(random.IntN(256))}
	}
	return item
}

// randomCondition returns a condition for a write of the row whose present value is present;
// nil if there is no such row.
func randomCondition(random *rand.Rand, present *fleet.Item) fleet.Condition {
	switch random.IntN(4) {
	case 0:
		return fleet.Condition{FreeAt: random.Int64N(10)}
	case 1:
		return fleet.Condition{OwnedBy: fmt.Sprint("owner", random.IntN(3)), OwnedAt: random.Int64N(10)}
	case 2:
		if present != nil && random.IntN(4) > 0 {
			return fleet.Condition{Like: present}
		}
		return fleet.Condition{Like: &fleet.Item{}}
	}
	return fleet.Condition{Any: true}
}

// An attacker who can write the table may use other types.
func TestGetIgnoresAttributesOfAnotherType(t *testing.T) {
	table, client := newTable(t)
	row := map[string]types.AttributeValue{
		attributeName: &types.AttributeValueMemberS{Value: "row"}, attributeUntil: &types.AttributeValueMemberS{Value: "x"},
		attributeState: &types.AttributeValueMemberN{Value: "1"}, attributeValue: &types.AttributeValueMemberBOOL{Value: true}, attributeOwner: blob([]byte("x")),
	}
	if _, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: table.name, Item: row}); err != nil {
		t.Fatal(err)
	}
	if got, err := table.Get(t.Context(), "row"); err != nil || !reflect.DeepEqual(got, &fleet.Item{Name: "row"}) {
		t.Errorf("got %+v, %v, want a row without attributes", got, err)
	}
}

// Calls are not retried, and their errors contain no text of AWS.
func TestUpdateFailsAfterOneCall(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"throttled": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"cnry arn:aws:x"}`))
		},
		"missing": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"cnry arn:aws:x"}`))
		},
		"garbage": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("cnry")) },
		"500":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"hang": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // otherwise the server does not notice that the client disconnects
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { calls.Add(1); answer(w, r) }))
			defer server.Close()
			table := NewTable(configOf(t, "AWS_ENDPOINT_URL_DYNAMODB", server.URL), "cnry-table")
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			_, _, err := table.Update(ctx, fleet.Item{Name: "cnry-row", Until: 1}, fleet.Condition{FreeAt: 1})
			if err == nil || calls.Load() != 1 || strings.Contains(err.Error(), "cnry") || strings.Contains(err.Error(), "arn:") {
				t.Errorf("got %d calls and %v, want 1 call and an error without text of AWS", calls.Load(), err)
			}
			if throttled := errors.Is(err, fleet.ErrThrottled); throttled != (name == "throttled") {
				t.Errorf("got %v", err)
			}
			if name == "hang" && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
			}
		})
	}
}
