package dynamodb

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tokenvendor/scripts/local/awsjson"
)

// table is a table with its items.
type table struct {
	name, id   string
	key        attribute
	billing    string
	throughput throughput
	created    time.Time
	ttl        string // the attribute; empty: off
	rows       map[string]row
}

// row is what is under one key.
type row struct {
	item   Item // nil: deleted
	before Item // what a read that lags behind sees; nil: nothing
}

type attribute struct{ AttributeName, AttributeType string }

type keyElement struct{ AttributeName, KeyType string }

type throughput struct{ ReadCapacityUnits, WriteCapacityUnits int64 }

// description is a table in an answer.
type description struct {
	TableName, TableStatus string
	TableARN               string `json:"TableArn"`
	TableID                string `json:"TableId"`
	CreationDateTime       awsjson.Time
	AttributeDefinitions   []attribute
	KeySchema              []keyElement
	ItemCount              int
	TableSizeBytes         int
	ProvisionedThroughput  throughput
	BillingModeSummary     struct{ BillingMode string }
}

func (s *Server) arn(name string) string {
	return "arn:aws:dynamodb:" + s.cfg.Region + ":" + s.cfg.Account + ":table/" + name
}

func (s *Server) describe(t *table, status string) description {
	d := description{
		TableName: t.name, TableStatus: status, TableARN: s.arn(t.name), TableID: t.id, CreationDateTime: awsjson.Time(t.created),
		AttributeDefinitions:  []attribute{t.key},
		KeySchema:             []keyElement{{t.key.AttributeName, "HASH"}},
		ProvisionedThroughput: t.throughput,
	}
	d.BillingModeSummary.BillingMode = t.billing
	for _, item := range t.items() {
		d.ItemCount++
		d.TableSizeBytes += item.bytes()
	}
	return d
}

// find returns a table by name or ARN.
func (s *Server) find(name string) (*table, *apiError) {
	t := s.tables[strings.TrimPrefix(name, s.arn(""))]
	switch {
	case name == "":
		return nil, invalid("The parameter 'TableName' is required but was not present in the request")
	case t == nil:
		return nil, fail(notFound, "Requested resource not found: Table not found")
	}
	return t, nil
}

// items returns what is there, by key.
func (t *table) items() map[string]Item {
	items := make(map[string]Item)
	for key, r := range t.rows {
		if r.item != nil {
			items[key] = r.item
		}
	}
	return items
}

// put replaces what is under a key; nil deletes it.
func (t *table) put(key string, item Item) {
	t.rows[key] = row{item: item, before: t.rows[key].item}
}

type createInput struct {
	TableName              string
	AttributeDefinitions   []attribute
	KeySchema              []keyElement
	BillingMode            string
	ProvisionedThroughput  *throughput
	LocalSecondaryIndexes  []json.RawMessage
	GlobalSecondaryIndexes []json.RawMessage
}

// createTable makes a table that is there at once, although the answer says, as
// that of AWS, that it is still being made.
func (s *Server) createTable(in createInput) (any, *apiError) {
	if failure := in.check(); failure != nil {
		return nil, failure
	}
	if s.tables[in.TableName] != nil {
		return nil, fail(inUse, "Table already exists: "+in.TableName)
	}
	t := s.newTable(in.TableName, in.AttributeDefinitions[0])
	if in.ProvisionedThroughput != nil {
		t.throughput = *in.ProvisionedThroughput
	}
	if in.BillingMode != "PAY_PER_REQUEST" {
		t.billing = "PROVISIONED"
	}
	s.tables[in.TableName] = t
	return map[string]any{"TableDescription": s.describe(t, "CREATING")}, nil
}

func (s *Server) newTable(name string, key attribute) *table {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	return &table{
		name: name, id: fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:]),
		key: key, billing: "PAY_PER_REQUEST", created: s.cfg.Now(), rows: make(map[string]row),
	}
}

func (in createInput) check() *apiError {
	const wrong = "One or more parameter values were invalid: "
	onDemand := in.BillingMode == "PAY_PER_REQUEST"
	switch {
	case !goodName(in.TableName):
		return invalid("TableName must be 3 to 255 characters long, and may contain only a-z, A-Z, 0-9, '_', '-', and '.'")
	case len(in.LocalSecondaryIndexes)+len(in.GlobalSecondaryIndexes) > 0:
		return invalid("this endpoint has no indexes")
	case len(in.KeySchema) == 0 || in.KeySchema[0].KeyType != "HASH":
		return invalid(wrong + "the first element of KeySchema is not a HASH key")
	case len(in.KeySchema) > 1:
		return invalid("this endpoint has no range keys")
	case !slices.ContainsFunc(in.AttributeDefinitions, func(a attribute) bool { return a.AttributeName == in.KeySchema[0].AttributeName }):
		return invalid(wrong + "Some index key attributes are not defined in AttributeDefinitions")
	case len(in.AttributeDefinitions) > 1:
		return invalid(wrong + "Number of attributes in KeySchema does not exactly match number of attributes defined in AttributeDefinitions")
	case !ordered(in.AttributeDefinitions[0].AttributeType) || in.KeySchema[0].AttributeName == "":
		return invalid(wrong + "a key attribute has a name, and type S, N or B")
	case !onDemand && in.BillingMode != "" && in.BillingMode != "PROVISIONED":
		return invalid("BillingMode must be PROVISIONED or PAY_PER_REQUEST")
	case onDemand && in.ProvisionedThroughput != nil:
		return invalid(wrong + "Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST")
	case !onDemand && (in.ProvisionedThroughput == nil || in.ProvisionedThroughput.ReadCapacityUnits < 1 || in.ProvisionedThroughput.WriteCapacityUnits < 1):
		return invalid(wrong + "ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED")
	}
	return nil
}

func goodName(name string) bool {
	return len(name) >= 3 && len(name) <= 255 && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_-.", r)
	})
}

type tableInput struct{ TableName string }

func (s *Server) describeTable(in tableInput) (any, *apiError) {
	t, failure := s.find(in.TableName)
	if failure != nil {
		return nil, failure
	}
	return map[string]any{"Table": s.describe(t, "ACTIVE")}, nil
}

func (s *Server) deleteTable(in tableInput) (any, *apiError) {
	t, failure := s.find(in.TableName)
	if failure != nil {
		return nil, failure
	}
	delete(s.tables, t.name)
	return map[string]any{"TableDescription": s.describe(t, "DELETING")}, nil
}

type listInput struct {
	ExclusiveStartTableName string
	Limit                   *int
}

// maxTables is how many names one ListTables answers with.
const maxTables = 100

func (s *Server) listTables(in listInput) (any, *apiError) {
	limit := maxTables
	if in.Limit != nil {
		limit = *in.Limit
	}
	if limit < 1 || limit > maxTables {
		return nil, invalid("Limit must be 1 to 100")
	}
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(s.tables)), func(name string) bool { return name <= in.ExclusiveStartTableName })
	if len(names) <= limit {
		return map[string]any{"TableNames": append([]string{}, names...)}, nil
	}
	return map[string]any{"TableNames": names[:limit], "LastEvaluatedTableName": names[limit-1]}, nil
}

type timeToLive struct {
	AttributeName string
	Enabled       bool
}

func (s *Server) updateTimeToLive(in struct {
	TableName               string
	TimeToLiveSpecification timeToLive
}) (any, *apiError) {
	t, failure := s.find(in.TableName)
	if failure != nil {
		return nil, failure
	}
	switch given := in.TimeToLiveSpecification; {
	case given.AttributeName == "" || len(given.AttributeName) > 255:
		return nil, invalid("TimeToLiveSpecification.AttributeName must have 1 to 255 characters")
	case given.Enabled && t.ttl != "":
		return nil, invalid("TimeToLive is already enabled")
	case !given.Enabled && t.ttl == "":
		return nil, invalid("TimeToLive is already disabled")
	case !given.Enabled && t.ttl != given.AttributeName:
		return nil, invalid("TimeToLive is active on a different AttributeName")
	case given.Enabled:
		t.ttl = given.AttributeName
	default:
		t.ttl = ""
	}
	return map[string]any{"TimeToLiveSpecification": in.TimeToLiveSpecification}, nil
}

func (s *Server) describeTimeToLive(in tableInput) (any, *apiError) {
	t, failure := s.find(in.TableName)
	if failure != nil {
		return nil, failure
	}
	out := map[string]string{"TimeToLiveStatus": "DISABLED"}
	if t.ttl != "" {
		out = map[string]string{"TimeToLiveStatus": "ENABLED", "AttributeName": t.ttl}
	}
	return map[string]any{"TimeToLiveDescription": out}, nil
}
