// Package dynamodb is a local double of Amazon DynamoDB: tables in memory whose key is one
// string, with the operations that the vendor, its checks and the commands of the local stack
// use. These are CreateTable, DescribeTable, GetItem, PutItem, Scan, and UpdateItem with
// condition and update expressions.
//
// Other operations, types and parameters are answered with an error that names them. There
// are no streams, no capacity limits but those of [Config], and no item expires: DynamoDB may delete an
// expired item days later, so that readers must expect expired items anyway. Package awsjson says
// which requests it accepts. It imports awsjson and the standard library only.
//
// Source: docs.aws.amazon.com/amazondynamodb/latest/APIReference, and "Expressions" in
// .../developerguide.
package dynamodb

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"tokenvendor/scripts/local/awsjson"
)

// Config configures a [Server].
type Config struct {
	// Region and Account are part of the ARNs. Required.
	Region, Account string
	// Limits makes the table throttle as DynamoDB does: an item has 1000 write units and
	// 3000 read units a second.
	Limits bool
}

// Server is the endpoint. It is safe for concurrent use.
type Server struct {
	*awsjson.Endpoint
	cfg Config

	mu     sync.Mutex
	tables map[string]*table // by name; guarded by mu
	// throttled is guarded by mu.
	throttled int
}

// table is a table with its items.
type table struct {
	name, key string
	created   time.Time
	items     map[string]Item // by key
	used      map[string]usage
}

const (
	notFound        = "ResourceNotFoundException"
	inUse           = "ResourceInUseException"
	conditionFailed = "ConditionalCheckFailedException"
	validation      = "ValidationException"

	// maxBody is the largest request in bytes: an item has 400 KB (ServiceQuotas.html).
	maxBody = 1 << 20
)

// New returns a server without tables.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, tables: make(map[string]*table)}
	s.Endpoint = awsjson.New(awsjson.Config{
		Version: "1.0", Target: "DynamoDB_20120810.", MaxBody: maxBody, Type: errorType, Checksum: true,
		Operations: map[string]awsjson.Operation{
			"CreateTable":   decode(s, s.createTable),
			"DescribeTable": decode(s, s.describeTable),
			"GetItem":       decode(s, s.getItem),
			"PutItem":       decode(s, s.putItem),
			"Scan":          decode(s, s.scan),
			"UpdateItem":    decode(s, s.updateItem),
		},
	})
	return s
}

// decode returns an operation that locks the server while it runs. Its answer is encoded
// without the lock: items are replaced and never changed.
func decode[In any](s *Server, run func(In) (any, *awsjson.Error)) awsjson.Operation {
	return awsjson.Decode(func(in In) (any, *awsjson.Error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return run(in)
	})
}

func fail(code, message string) *awsjson.Error { return &awsjson.Error{Code: code, Message: message} }

func invalid(message string) *awsjson.Error { return fail(validation, message) }

// errorType returns the __type of an error. The errors of DynamoDB have one namespace, those
// of all services others.
func errorType(code string) string {
	switch code {
	case validation:
		return "com.amazon.coral.validate#" + code
	case "AccessDeniedException", "MissingAuthenticationTokenException", "SerializationException",
		"UnknownOperationException", "UnrecognizedClientException", "ExpiredTokenException", "ServiceUnavailable":
		return "com.amazon.coral.service#" + code
	}
	return "com.amazonaws.dynamodb.v20120810#" + code
}

// AddTable adds a table whose key has type S. ttl is the attribute with the expiry time of an
// item; no item is deleted because of it.
func (s *Server) AddTable(name, key, ttl string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !validTableName(name) || key == "" || key == ttl || s.tables[name] != nil {
		return fmt.Errorf("dynamodb: no table can be added with name %q, key %q and time to live %q", name, key, ttl)
	}
	s.addTable(name, key)
	return nil
}

func (s *Server) addTable(name, key string) *table {
	t := &table{name: name, key: key, created: time.Now(), items: make(map[string]Item), used: make(map[string]usage)}
	s.tables[name] = t
	return t
}

// Items returns the items of a table in the order of their keys. Nil: there is no such table.
// The caller must not change them.
func (s *Server) Items(table string) []Item {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[table]
	if t == nil {
		return nil
	}
	return t.sorted()
}

// Add adds items to a table, and replaces those with the same key.
func (s *Server) Add(table string, items ...Item) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, failure := s.find(table)
	if failure != nil {
		return failure
	}
	for _, item := range items {
		t.items[item[t.key].Text] = item
	}
	return nil
}

// Clear deletes all items of a table. Its used capacity stays.
func (s *Server) Clear(table string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tables[table]; t != nil {
		clear(t.items)
	}
}

// Throttled returns how many calls were throttled because of Config.Limits.
func (s *Server) Throttled() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.throttled
}

func (t *table) sorted() []Item {
	list := []Item{}
	for _, key := range slices.Sorted(maps.Keys(t.items)) {
		list = append(list, t.items[key])
	}
	return list
}

// find returns the table with a name or ARN.
func (s *Server) find(name string) (*table, *awsjson.Error) {
	t := s.tables[strings.TrimPrefix(name, s.arn(""))]
	switch {
	case name == "":
		return nil, invalid("The parameter 'TableName' is required but was not present in the request")
	case t == nil:
		return nil, fail(notFound, "Requested resource not found: Table not found")
	}
	return t, nil
}

func (s *Server) arn(name string) string {
	return "arn:aws:dynamodb:" + s.cfg.Region + ":" + s.cfg.Account + ":table/" + name
}

type attribute struct{ AttributeName, AttributeType string }

type keyElement struct{ AttributeName, KeyType string }

// describe returns the description of a table in an answer.
func (s *Server) describe(t *table, status string) map[string]any {
	return map[string]any{
		"TableName": t.name, "TableStatus": status, "TableArn": s.arn(t.name), "CreationDateTime": awsjson.Time(t.created), "ItemCount": len(t.items),
		"AttributeDefinitions": []attribute{{t.key, "S"}}, "KeySchema": []keyElement{{t.key, "HASH"}},
		"BillingModeSummary": map[string]string{"BillingMode": "PAY_PER_REQUEST"},
	}
}

// createTable creates a table. It is active immediately, although the answer has the status
// CREATING as at AWS.
func (s *Server) createTable(in struct {
	TableName, BillingMode string
	AttributeDefinitions   []attribute
	KeySchema              []keyElement
}) (any, *awsjson.Error) {
	switch {
	case !validTableName(in.TableName):
		return nil, invalid("TableName must be 3 to 255 characters long, and may contain only a-z, A-Z, 0-9, '_', '-', and '.'")
	case in.BillingMode != "PAY_PER_REQUEST":
		return nil, invalid("only the BillingMode PAY_PER_REQUEST is supported")
	case len(in.KeySchema) != 1 || in.KeySchema[0].KeyType != "HASH" || in.KeySchema[0].AttributeName == "":
		return nil, invalid("only tables with one HASH key are supported")
	case len(in.AttributeDefinitions) != 1 || in.AttributeDefinitions[0] != attribute{in.KeySchema[0].AttributeName, "S"}:
		return nil, invalid("One or more parameter values were invalid: AttributeDefinitions must have the key, of type S")
	case s.tables[in.TableName] != nil:
		return nil, fail(inUse, "Table already exists: "+in.TableName)
	}
	t := s.addTable(in.TableName, in.KeySchema[0].AttributeName)
	return map[string]any{"TableDescription": s.describe(t, "CREATING")}, nil
}

func validTableName(name string) bool {
	return len(name) >= 3 && len(name) <= 255 && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_-.", r)
	})
}

func (s *Server) describeTable(in struct{ TableName string }) (any, *awsjson.Error) {
	t, failure := s.find(in.TableName)
	if failure != nil {
		return nil, failure
	}
	return map[string]any{"Table": s.describe(t, "ACTIVE")}, nil
}
