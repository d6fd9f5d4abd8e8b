package dynamodb_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	local "tokenvendor/scripts/local/dynamodb"
)

// suite is a test's client of an endpoint. The suite also runs against the endpoint whose URL
// is in SUITE_ENDPOINT, such as moto_server, to prove that it expects what AWS does.
type suite struct {
	*testing.T
	api   *dynamodb.Client
	table *string // with the hash key id; an endpoint may be shared
}

type attributes = map[string]types.AttributeValue

func text(s string) types.AttributeValue   { return &types.AttributeValueMemberS{Value: s} }
func number(n string) types.AttributeValue { return &types.AttributeValueMemberN{Value: n} }
func blob(b string) types.AttributeValue   { return &types.AttributeValueMemberB{Value: []byte(b)} }

func newServer() *local.Server {
	return local.New(local.Config{Region: "eu-central-1", Account: "123456789012"})
}

func newClient(url string) *dynamodb.Client {
	credentials := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "x"}, nil
	})
	return dynamodb.New(dynamodb.Options{Region: "eu-central-1", BaseEndpoint: &url, Credentials: credentials, RetryMaxAttempts: 1})
}

func newSuite(t *testing.T) *suite {
	t.Helper()
	url := os.Getenv("SUITE_ENDPOINT")
	if url == "" {
		server := httptest.NewServer(newServer())
		t.Cleanup(server.Close)
		url = server.URL
	}
	s := &suite{t, newClient(url), aws.String("suite-" + rand.Text())}
	if _, err := s.api.CreateTable(t.Context(), tableInput(*s.table)); err != nil {
		t.Fatal(err)
	}
	return s
}

func tableInput(name string) *dynamodb.CreateTableInput {
	return &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}},
	}
}

func (s *suite) put(item attributes) {
	s.Helper()
	if _, err := s.api.PutItem(s.Context(), &dynamodb.PutItemInput{TableName: s.table, Item: item}); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) get(id string) attributes {
	s.Helper()
	out, err := s.api.GetItem(s.Context(), &dynamodb.GetItemInput{TableName: s.table, Key: attributes{"id": text(id)}, ConsistentRead: aws.Bool(true)})
	if err != nil {
		s.Fatal(err)
	}
	return out.Item
}

// update makes an update of the item id. names and values are those that the expressions use.
func (s *suite) update(id, update, condition string, names map[string]string, values attributes) (*dynamodb.UpdateItemOutput, error) {
	in := &dynamodb.UpdateItemInput{
		TableName: s.table, Key: attributes{"id": text(id)}, UpdateExpression: &update,
		ExpressionAttributeNames: names, ExpressionAttributeValues: values, ReturnValues: types.ReturnValueAllOld,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
	if condition != "" {
		in.ConditionExpression = &condition
	}
	return s.api.UpdateItem(s.Context(), in)
}

func code(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return fmt.Sprint(err)
	}
	return api.ErrorCode()
}

func TestTableIsCreatedOnce(t *testing.T) {
	s := newSuite(t)
	out, err := s.api.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: s.table})
	if err != nil || out.Table.TableStatus != types.TableStatusActive || *out.Table.KeySchema[0].AttributeName != "id" || !strings.HasSuffix(*out.Table.TableArn, "/"+*s.table) {
		t.Errorf("got %+v, %v", out, err)
	}
	if _, err := s.api.CreateTable(t.Context(), tableInput(*s.table)); code(err) != "ResourceInUseException" {
		t.Errorf("the same table again: got %v, want ResourceInUseException", err)
	}
	if _, err := s.api.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String("none")}); code(err) != "ResourceNotFoundException" {
		t.Errorf("no such table: got %v, want ResourceNotFoundException", err)
	}
}

func TestGetReturnsWhatWasPut(t *testing.T) {
	s := newSuite(t)
	item := attributes{"id": text("a"), "n": number("-12.5"), "b": blob("\x00\xff"), "yes": &types.AttributeValueMemberBOOL{Value: true}, "empty": text("")}
	s.put(item)
	if got := s.get("a"); !reflect.DeepEqual(got, item) {
		t.Errorf("got %v, want %v", got, item)
	}
	s.put(attributes{"id": text("a"), "new": text("x")})
	if got := s.get("a"); len(got) != 2 {
		t.Errorf("got %v, want the new attributes only", got)
	}
	if got := s.get("b"); got != nil {
		t.Errorf("got %v, want no item", got)
	}
	out, err := s.api.Scan(t.Context(), &dynamodb.ScanInput{TableName: s.table})
	if err != nil || len(out.Items) != 1 || out.Count != 1 || !reflect.DeepEqual(out.Items[0], s.get("a")) {
		t.Errorf("Scan: got %+v, %v, want the item", out, err)
	}
}

func TestUpdateIfConditionIsTrue(t *testing.T) {
	s := newSuite(t)
	names := map[string]string{"#n": "n", "#b": "b", "#none": "none"}
	values := attributes{":4": number("4"), ":5": number("5"), ":five": number("5.0"), ":6": number("6"), ":x": blob("x"), ":y": blob("y"), ":s": text("5")}
	for condition, want := range map[string]bool{
		"attribute_exists(#n)": true, "attribute_exists(#none)": false, "attribute_not_exists(#n)": false, "attribute_not_exists(#none)": true,
		"#n = :5": true, "#n = :five": true, "#n = :s": false, "#n = :4": false, "#b = :x": true, "#b = :y": false, "#none = :5": false,
		"#n <= :5": true, "#n <= :4": false, "#n >= :5": true, "#n >= :6": false, "#none <= :5": false,
		"#n = :5 AND #b = :x": true, "#n = :5 AND #b = :y": false, "#n = :4 OR #b = :x": true, "#n = :4 or #b = :y": false,
		"#n = :5 OR #n = :4 AND #b = :y": true, "#b = :y AND #n = :4 OR #n = :5": true,
	} {
		s.put(attributes{"id": text("a"), "n": number("5"), "b": blob("x")})
		usedNames, usedValues := map[string]string{"#out": "out"}, attributes{":out": text("changed")}
		for _, placeholder := range regexp.MustCompile(`[#:][a-z0-9]+`).FindAllString(condition, -1) {
			if name, ok := names[placeholder]; ok {
				usedNames[placeholder] = name
			} else {
				usedValues[placeholder] = values[placeholder]
			}
		}
		_, err := s.update("a", "SET #out = :out", condition, usedNames, usedValues)
		if (err == nil) != want || err != nil && code(err) != "ConditionalCheckFailedException" {
			t.Errorf("%s: got %v, want that it is %v", condition, err, want)
		}
		if changed := s.get("a")["out"] != nil; changed != want {
			t.Errorf("%s: got that the item was changed: %v, want %v", condition, changed, want)
		}
	}
}

func TestUpdateReturnsTheOldItem(t *testing.T) {
	s := newSuite(t)
	names, values := map[string]string{"#n": "n"}, attributes{":1": number("1")}
	out, err := s.update("a", "SET #n = :1", "attribute_not_exists(#n)", names, values)
	if err != nil || len(out.Attributes) != 0 {
		t.Fatalf("got %+v, %v, want no attributes", out, err)
	}
	want := attributes{"id": text("a"), "n": number("1")}
	_, err = s.update("a", "SET #n = :1", "attribute_not_exists(#n)", names, values)
	var failed *types.ConditionalCheckFailedException
	if !errors.As(err, &failed) || !reflect.DeepEqual(failed.Item, want) {
		t.Errorf("got %v, want an error with %v", err, want)
	}
	out, err = s.update("a", "REMOVE #n", "", names, nil)
	if err != nil || !reflect.DeepEqual(out.Attributes, want) || len(s.get("a")) != 1 {
		t.Errorf("got %+v, %v, and the item %v, want %v and one attribute", out, err, s.get("a"), want)
	}
	out, err = s.update("a", "SET #n = :1, #m = :2 REMOVE #o", "", map[string]string{"#n": "n", "#m": "m", "#o": "o"}, attributes{":1": number("1"), ":2": text("2")})
	if err != nil || len(out.Attributes) != 1 || len(s.get("a")) != 3 {
		t.Errorf("got %+v, %v, and the item %v, want one attribute and three", out, err, s.get("a"))
	}
}

func TestOneOfManyConditionalWritesSucceeds(t *testing.T) {
	s := newSuite(t)
	var got atomic.Int64
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			_, err := s.update("lease", "SET #o = :o", "attribute_not_exists(#o)", map[string]string{"#o": "owner"}, attributes{":o": text(fmt.Sprint(i))})
			if err == nil {
				got.Add(1)
			} else if code(err) != "ConditionalCheckFailedException" {
				t.Error(err)
			}
		})
	}
	all.Wait()
	switch n := got.Load(); {
	case n > 1 && os.Getenv("SUITE_ENDPOINT") != "":
		// Seen with moto_server 5.2.1, which has threads and no lock.
		t.Log("known difference: moto lets another write come between a condition and its write")
	case n != 1:
		t.Errorf("got %d writes that succeeded, want 1", n)
	}
}
