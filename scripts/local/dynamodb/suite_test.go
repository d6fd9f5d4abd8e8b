package dynamodb_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	local "tokenvendor/scripts/local/dynamodb"
)

// suite is one test's view of an endpoint. SUITE_ENDPOINT, a URL, puts another in
// the place of our own, to see that the suite asks for what others understand by
// the words too.
type suite struct {
	*testing.T
	api   *dynamodb.Client
	table *string // with the hash key id; an endpoint may be shared
	ours  bool
}

type attributes = map[string]types.AttributeValue

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
	url := os.Getenv("SUITE_ENDPOINT")
	ours := url == ""
	if ours {
		server := httptest.NewServer(newServer())
		t.Cleanup(server.Close)
		url = server.URL
	}
	s := &suite{t, newClient(url), aws.String(t.Name() + "-" + rand.Text()), ours}
	in := tableInput(*s.table)
	if _, err := s.api.CreateTable(t.Context(), in); err != nil {
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

// in is s for a subtest.
func (s *suite) in(t *testing.T) *suite { return &suite{t, s.api, s.table, s.ours} }

// differs reports whether a check must be left out because the endpoint is not
// ours and known to answer otherwise; what says how. moto_server 5.2.1 was tried.
func (s *suite) differs(what string) bool {
	if !s.ours {
		s.Logf("known difference: moto %s", what)
	}
	return !s.ours
}

func text(v string) types.AttributeValue   { return &types.AttributeValueMemberS{Value: v} }
func number(v string) types.AttributeValue { return &types.AttributeValueMemberN{Value: v} }
func bytesOf(v string) types.AttributeValue {
	return &types.AttributeValueMemberB{Value: []byte(v)}
}
func truth(v bool) types.AttributeValue { return &types.AttributeValueMemberBOOL{Value: v} }

func key(id string) attributes { return attributes{"id": text(id)} }

// item is what all conditions are tried on.
func item(id string) attributes {
	return attributes{
		"id": text(id), "owner": text("me"), "n": number("5"), "big": number("12345678901234567890123456789012345678"),
		"data": bytesOf("\x00\x01\xff"), "yes": truth(true), "nothing": &types.AttributeValueMemberNULL{Value: true},
		"words":   &types.AttributeValueMemberSS{Value: []string{"a", "b"}},
		"numbers": &types.AttributeValueMemberNS{Value: []string{"1", "2.5"}},
		"blobs":   &types.AttributeValueMemberBS{Value: [][]byte{{1}, {2}}},
		"list":    &types.AttributeValueMemberL{Value: []types.AttributeValue{text("x"), number("1")}},
		"tree":    &types.AttributeValueMemberM{Value: attributes{"k": text("v")}},
		"status":  text("a reserved word"),
	}
}

func (s *suite) put(i attributes) {
	s.Helper()
	if _, err := s.api.PutItem(s.Context(), &dynamodb.PutItemInput{TableName: s.table, Item: i}); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) get(id string) attributes {
	s.Helper()
	out, err := s.api.GetItem(s.Context(), &dynamodb.GetItemInput{TableName: s.table, Key: key(id), ConsistentRead: aws.Bool(true)})
	if err != nil {
		s.Fatal(err)
	}
	return out.Item
}

func (s *suite) wantItem(got, want attributes) {
	s.Helper()
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if !reflect.DeepEqual(got, want) {
		s.Errorf("item has %d attributes %v, want %d %v", len(got), plain(got), len(want), plain(want))
	}
}

// plain makes an item readable.
func plain(a attributes) map[string]any {
	out := make(map[string]any)
	for name, v := range a {
		out[name] = reflect.ValueOf(v).Elem().FieldByName("Value").Interface()
	}
	return out
}

func (s *suite) wantCode(err error, want string) {
	s.Helper()
	var api smithy.APIError
	if want == "" && err == nil {
		return
	}
	if !errors.As(err, &api) || api.ErrorCode() != want {
		s.Errorf("error is %v, want %q", err, want)
	}
}

const (
	failed  = "ConditionalCheckFailedException"
	invalid = "ValidationException"
	missing = "ResourceNotFoundException"
)

func TestTables(t *testing.T) {
	s := newSuite(t)
	name := s.table
	_, err := s.api.CreateTable(t.Context(), tableInput(*name))
	s.wantCode(err, "ResourceInUseException")
	if err := dynamodb.NewTableExistsWaiter(s.api).Wait(t.Context(), &dynamodb.DescribeTableInput{TableName: name}, time.Minute); err != nil {
		t.Fatal(err)
	}
	s.put(key("a"))
	out, err := s.api.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: name})
	if err != nil {
		t.Fatal(err)
	}
	if d := out.Table; *d.TableArn != "arn:aws:dynamodb:eu-central-1:123456789012:table/"+*name || d.TableStatus != types.TableStatusActive ||
		*d.ItemCount != 1 || d.CreationDateTime == nil || *d.KeySchema[0].AttributeName != "id" || d.BillingModeSummary.BillingMode != types.BillingModePayPerRequest {
		t.Errorf("%+v", d)
	}
	byARN := &dynamodb.GetItemInput{TableName: out.Table.TableArn, Key: key("a")}
	if got, err := s.api.GetItem(t.Context(), byARN); err != nil || len(got.Item) != 1 {
		t.Errorf("by ARN: %v, %v", got, err)
	}
	var listed []string
	for pager := dynamodb.NewListTablesPaginator(s.api, &dynamodb.ListTablesInput{}); pager.HasMorePages(); {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, page.TableNames...)
	}
	if !slices.Contains(listed, *name) {
		t.Errorf("%q is not listed", *name)
	}
	if _, err := s.api.DeleteTable(t.Context(), &dynamodb.DeleteTableInput{TableName: name}); err != nil {
		t.Fatal(err)
	}
	if err := dynamodb.NewTableNotExistsWaiter(s.api).Wait(t.Context(), &dynamodb.DescribeTableInput{TableName: name}, time.Minute); err != nil {
		t.Fatal(err)
	}
	_, err = s.api.DeleteTable(t.Context(), &dynamodb.DeleteTableInput{TableName: name})
	s.wantCode(err, missing)
	_, err = s.api.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: name, Key: key("a")})
	s.wantCode(err, missing)
	_, err = s.api.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: name, Item: key("a")})
	s.wantCode(err, missing)
}

func TestTablesRefused(t *testing.T) {
	s := newSuite(t)
	attribute := func(name, kind string) types.AttributeDefinition {
		return types.AttributeDefinition{AttributeName: &name, AttributeType: types.ScalarAttributeType(kind)}
	}
	for name, change := range map[string]func(*dynamodb.CreateTableInput){
		"moto takes short names of tables": func(in *dynamodb.CreateTableInput) { in.TableName = aws.String("ab") },
		"moto takes any name of a table":   func(in *dynamodb.CreateTableInput) { in.TableName = aws.String("a b c") },
		"moto has range keys":              func(in *dynamodb.CreateTableInput) { addRange(in) },
		"no definition of the key":         func(in *dynamodb.CreateTableInput) { in.AttributeDefinitions[0] = attribute("other", "S") },
		"an attribute that is no key": func(in *dynamodb.CreateTableInput) {
			in.AttributeDefinitions = append(in.AttributeDefinitions, attribute("other", "S"))
		},
		"moto takes keys of any type": func(in *dynamodb.CreateTableInput) { in.AttributeDefinitions[0] = attribute("id", "BOOL") },
		"provisioned without limits":  func(in *dynamodb.CreateTableInput) { in.BillingMode = types.BillingModeProvisioned },
		"limits on demand": func(in *dynamodb.CreateTableInput) {
			in.ProvisionedThroughput = &types.ProvisionedThroughput{ReadCapacityUnits: aws.Int64(1), WriteCapacityUnits: aws.Int64(1)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			in := tableInput(rand.Text())
			change(in)
			if what, known := strings.CutPrefix(name, "moto "); !known || !s.differs(what) {
				_, err := s.api.CreateTable(t.Context(), in)
				s.wantCode(err, invalid)
			}
		})
	}
}

func addRange(in *dynamodb.CreateTableInput) {
	in.AttributeDefinitions = append(in.AttributeDefinitions, types.AttributeDefinition{AttributeName: aws.String("at"), AttributeType: types.ScalarAttributeTypeN})
	in.KeySchema = append(in.KeySchema, types.KeySchemaElement{AttributeName: aws.String("at"), KeyType: types.KeyTypeRange})
}

func TestTimeToLive(t *testing.T) {
	s := newSuite(t)
	describe := func(want types.TimeToLiveStatus) {
		t.Helper()
		out, err := s.api.DescribeTimeToLive(t.Context(), &dynamodb.DescribeTimeToLiveInput{TableName: s.table})
		if err != nil || out.TimeToLiveDescription.TimeToLiveStatus != want || want == types.TimeToLiveStatusEnabled && *out.TimeToLiveDescription.AttributeName != "end" {
			t.Errorf("%+v, %v, want %s", out, err, want)
		}
	}
	update := func(enabled bool) error {
		_, err := s.api.UpdateTimeToLive(t.Context(), &dynamodb.UpdateTimeToLiveInput{
			TableName: s.table, TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("end"), Enabled: &enabled},
		})
		return err
	}
	describe(types.TimeToLiveStatusDisabled)
	s.wantCode(update(true), "")
	describe(types.TimeToLiveStatusEnabled)
	if !s.differs("takes a time to live that is already so") {
		s.wantCode(update(true), invalid)
	}
	s.wantCode(update(false), "")
	describe(types.TimeToLiveStatusDisabled)
	if s.ours {
		s.wantCode(update(false), invalid)
	}
	// An item that has ended is still there.
	s.wantCode(update(true), "")
	ended := attributes{"id": text("a"), "end": number("1000000000")}
	s.put(ended)
	s.wantItem(s.get("a"), ended)
}

// TestGetWhatWasPut: all types come back as they went in.
func TestGetWhatWasPut(t *testing.T) {
	s := newSuite(t)
	want := item("a")
	s.put(want)
	s.wantItem(s.get("a"), want)
	s.wantItem(s.get("b"), nil)
	if large := (attributes{"id": text("c"), "v": bytesOf(strings.Repeat("\xff", 400<<10-4))}); !s.differs("counts the base64 of bytes") {
		s.put(large)
		s.wantItem(s.get("c"), large)
	}
	odd := attributes{"id": text("ü <>&\u2028\x00\U0001f511")}
	s.put(odd)
	s.wantItem(s.get("ü <>&\u2028\x00\U0001f511"), odd)
	empty := attributes{"id": text("d"), "s": text(""), "b": &types.AttributeValueMemberB{Value: []byte{}}, "l": &types.AttributeValueMemberL{Value: []types.AttributeValue{}}, "m": &types.AttributeValueMemberM{Value: attributes{}}}
	s.put(empty)
	s.wantItem(s.get("d"), empty)
}

func TestNumbers(t *testing.T) {
	s := newSuite(t)
	if s.differs("keeps numbers as they were written") {
		return
	}
	for in, want := range map[string]string{
		"1.0": "1", "007": "7", "+3": "3", "-0": "0", "0.0e5": "0", "1e3": "1000", "12.50": "12.5", "-1E-3": "-0.001", ".5": "0.5", "5.": "5",
		"9.9999999999999999999999999999999999999E125": "99999999999999999999999999999999999999" + strings.Repeat("0", 88),
		"1E-130": "0." + strings.Repeat("0", 129) + "1",
		"0.1234567890123456789012345678901234567800":     "0.12345678901234567890123456789012345678",
		"00012345678901234567890123456789012345678.000":  "12345678901234567890123456789012345678",
		"-12345678901234567890123456789012345678000e-10": "-1234567890123456789012345678901.2345678",
	} {
		s.put(attributes{"id": text("a"), "n": number(in)})
		if got := s.get("a")["n"].(*types.AttributeValueMemberN).Value; got != want {
			t.Errorf("%s became %s, want %s", in, got, want)
		}
	}
	for _, in := range []string{"", "x", "1x", "--1", "+-1", "1e", "e5", "1_000", "0x10", "Inf", "NaN", " 1", "1 ", "1e126", "1e-131", "1e99999999999999999999", "1.2.3", ".", "123456789012345678901234567890123456789"} {
		_, err := s.api.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: s.table, Item: attributes{"id": text("a"), "n": number(in)}})
		if err == nil {
			t.Errorf("%q is taken", in)
		}
		s.wantCode(err, invalid)
	}
}

func TestItemsRefused(t *testing.T) {
	s := newSuite(t)
	for name, i := range map[string]attributes{
		"no key":               {"v": text("x")},
		"key of another type":  {"id": number("1")},
		"empty key":            key(""),
		"long key":             key(strings.Repeat("x", 2049)),
		"more than 400 KB":     {"id": text("a"), "v": text(strings.Repeat("x", 400<<10))},
		"empty set":            {"id": text("a"), "v": &types.AttributeValueMemberSS{Value: []string{}}},
		"moto the same twice":  {"id": text("a"), "v": &types.AttributeValueMemberSS{Value: []string{"x", "x"}}},
		"moto the same number": {"id": text("a"), "v": &types.AttributeValueMemberNS{Value: []string{"1", "1.0"}}},
		"NULL false":           {"id": text("a"), "v": &types.AttributeValueMemberNULL{Value: false}},
		"moto no name":         {"id": text("a"), "": text("x")},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			if what, known := strings.CutPrefix(name, "moto "); !known || !s.differs("takes "+what) {
				_, err := s.api.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: s.table, Item: i})
				s.wantCode(err, invalid)
			}
		})
	}
	for name, k := range map[string]attributes{"no key": {}, "another key": {"v": text("x")}, "more than the key": {"id": text("a"), "v": text("x")}, "another type": {"id": number("1")}, "empty key": key("")} {
		t.Run("get with "+name, func(t *testing.T) {
			s := s.in(t)
			if name == "another type" && s.differs("takes a Key with "+name) {
				return
			}
			_, err := s.api.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: s.table, Key: k})
			s.wantCode(err, invalid)
		})
	}
}

func TestProjection(t *testing.T) {
	s := newSuite(t)
	s.put(item("a"))
	for _, tt := range []struct {
		name, expression string
		names            map[string]string
		want             []string
		code             string
	}{
		{"one", "id", nil, []string{"id"}, ""},
		{"two", "n, id", nil, []string{"id", "n"}, ""},
		{"placeholder", "#s,n", map[string]string{"#s": "status"}, []string{"status", "n"}, ""},
		{"one that is not there", "n, absent", nil, []string{"n"}, ""},
		{"reserved", "status", nil, nil, invalid},
		{"unused", "n", map[string]string{"#s": "status"}, nil, invalid},
		{"undefined", "#s", nil, nil, invalid},
		{"empty", "", nil, nil, invalid},
		{"twice", "n, n", nil, nil, invalid},
		{"comma", "n,", nil, nil, invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := s.in(t)
			switch {
			case tt.name == "undefined" && s.differs("leaves out names that are not defined"), tt.name == "comma" && s.differs("takes a comma at the end of a projection"):
				return
			}
			out, err := s.api.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: s.table, Key: key("a"), ProjectionExpression: &tt.expression, ExpressionAttributeNames: tt.names})
			s.wantCode(err, tt.code)
			if err == nil {
				want := attributes{}
				for _, name := range tt.want {
					want[name] = item("a")[name]
				}
				s.wantItem(out.Item, want)
			}
		})
	}
}
