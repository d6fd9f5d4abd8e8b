// Package dynamodb is Amazon DynamoDB in memory, on one machine: tables with a
// hash key alone, and the operations on one item with the whole of condition
// expressions, on which leases and caches that several processes share depend.
// The AWS SDK and the AWS CLI talk to it.
//
// Package awsjson says what it lets in. It refuses, instead of guessing: range
// keys, indexes, paths into lists and maps, and the parameters that expressions
// have replaced. It has no capacity to run out of (Fail does it), no streams,
// batches, transactions or queries. All its reads are consistent, unless SetStale
// is told otherwise.
// It imports the standard library only.
//
// Source: docs.aws.amazon.com/amazondynamodb/latest/APIReference, and
// "Expressions" in .../developerguide.
package dynamodb

import (
	"sync"
	"time"

	"tokenvendor/scripts/local/awsjson"
)

// Config configures a [Server].
type Config struct {
	// Region and Account make the ARNs; required.
	Region, Account string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Server is the endpoint. It is safe for concurrent use. Of the [awsjson.Endpoint]
// it has ServeHTTP, Calls, Fail, Hang and Inject.
type Server struct {
	*awsjson.Endpoint
	cfg Config

	mu     sync.Mutex
	tables map[string]*table // by name; guarded by mu
	stale  bool              // guarded by mu
}

const (
	notFound        = "ResourceNotFoundException"
	inUse           = "ResourceInUseException"
	conditionFailed = "ConditionalCheckFailedException"
	validation      = "ValidationException"
)

// maxBody is the largest request that DynamoDB takes, 1 MB for one item with its
// expressions (ServiceQuotas.html: an item has 400 KB).
const maxBody = 1 << 20

// New returns a DynamoDB without tables.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Server{cfg: cfg, tables: make(map[string]*table)}
	s.Endpoint = awsjson.New(awsjson.Config{
		Version: "1.0", Target: "DynamoDB_20120810.", MaxBody: maxBody, Type: errorType, Checksum: true,
		Operations: map[string]awsjson.Operation{
			"CreateTable":        decode(s, s.createTable),
			"DeleteItem":         decode(s, s.deleteItem),
			"DeleteTable":        decode(s, s.deleteTable),
			"DescribeTable":      decode(s, s.describeTable),
			"DescribeTimeToLive": decode(s, s.describeTimeToLive),
			"GetItem":            decode(s, s.getItem),
			"ListTables":         decode(s, s.listTables),
			"PutItem":            decode(s, s.putItem),
			"Scan":               decode(s, s.scan),
			"UpdateItem":         decode(s, s.updateItem),
			"UpdateTimeToLive":   decode(s, s.updateTimeToLive),
		},
	})
	return s
}

// decode makes an operation of a function that runs with the server's mu held.
// What it returns is not changed afterwards: items are replaced, never written to.
func decode[In any](s *Server, run func(In) (any, *apiError)) awsjson.Operation {
	return awsjson.Decode(func(in In) (any, *apiError) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return run(in)
	})
}

// apiError is an error answer, by the name of its type in AWS's model.
type apiError = awsjson.Error

// fail makes an error answer.
func fail(code, message string) *apiError { return &apiError{Code: code, Message: message} }

// invalid makes the error answer that is by far the most frequent.
func invalid(message string) *apiError { return fail(validation, message) }

// errorType is the __type of an error: those of DynamoDB's own model have one
// namespace, those that all services share have others.
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
