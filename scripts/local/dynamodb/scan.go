package dynamodb

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"slices"
)

type scanInput struct {
	TableName            string
	ConsistentRead       bool
	Limit                *int
	ExclusiveStartKey    Item
	ProjectionExpression *string
	FilterExpression     *string
	Select               string
	Segment              *int
	TotalSegments        *int
	IndexName            string

	AttributesToGet, ScanFilter, ConditionalOperator json.RawMessage
	placeholders
}

// maxPage is how many bytes of items one Scan looks at.
const maxPage = 1 << 20

func (s *Server) scan(in scanInput) (any, *apiError) {
	if failure := in.check(); failure != nil {
		return nil, failure
	}
	filter, project, failure := in.parse()
	if failure != nil {
		return nil, failure
	}
	t, failure := s.find(in.TableName)
	if failure != nil {
		return nil, failure
	}
	page, last, failure := s.page(t, in)
	if failure != nil {
		return nil, failure
	}
	items := []Item{}
	for _, item := range page {
		if filter == nil || filter(item) {
			items = append(items, project(item))
		}
	}
	out := map[string]any{"Count": len(items), "ScannedCount": len(page)}
	if in.Select != "COUNT" {
		out["Items"] = items
	}
	if last != nil {
		out["LastEvaluatedKey"] = last
	}
	return out, nil
}

func (in scanInput) check() *apiError {
	switch {
	case in.AttributesToGet != nil:
		return legacy("AttributesToGet")
	case in.ScanFilter != nil:
		return legacy("ScanFilter")
	case in.ConditionalOperator != nil:
		return legacy("ConditionalOperator")
	case in.Segment != nil || in.TotalSegments != nil:
		return invalid("this endpoint has no parallel scans")
	case in.IndexName != "":
		return invalid("this endpoint has no indexes")
	case in.Limit != nil && *in.Limit < 1:
		return invalid("Limit must be greater than or equal to 1")
	case !slices.Contains([]string{"", "ALL_ATTRIBUTES", "COUNT", "SPECIFIC_ATTRIBUTES"}, in.Select):
		return invalid("Select must be ALL_ATTRIBUTES, COUNT or SPECIFIC_ATTRIBUTES")
	case (in.Select == "SPECIFIC_ATTRIBUTES") != (in.ProjectionExpression != nil) && in.Select != "":
		return invalid("SPECIFIC_ATTRIBUTES goes with ProjectionExpression, and nothing else does")
	}
	return nil
}

func (in scanInput) parse() (filter condition, project func(Item) Item, failure *apiError) {
	expressions := 0
	for _, text := range []*string{in.ProjectionExpression, in.FilterExpression} {
		if text != nil {
			expressions++
		}
	}
	scope, failure := in.scope(expressions)
	if failure != nil {
		return nil, nil, failure
	}
	project = func(i Item) Item { return i }
	if in.ProjectionExpression != nil {
		if project, failure = scope.projection(*in.ProjectionExpression); failure != nil {
			return nil, nil, failure
		}
	}
	if in.FilterExpression != nil {
		p := scope.expression("FilterExpression", *in.FilterExpression)
		filter = p.condition()
		if failure := p.finish(); failure != nil {
			return nil, nil, failure
		}
	}
	return filter, project, scope.unused()
}

// page returns the items that one Scan looks at, and the key of the last of them
// where there may be more. They come by the hash of their keys: an order that
// stays, but that means nothing, as at AWS.
func (s *Server) page(t *table, in scanInput) (page []Item, last Item, failure *apiError) {
	keys := slices.SortedFunc(maps.Keys(t.rows), byHash)
	if in.ExclusiveStartKey != nil {
		start, failure := t.keyOf(in.ExclusiveStartKey)
		if failure != nil {
			return nil, nil, invalid("The provided starting key is invalid")
		}
		keys = slices.DeleteFunc(keys, func(key string) bool { return byHash(key, start) <= 0 })
	}
	size := 0
	for _, key := range keys {
		item := s.read(t.rows[key], in.ConsistentRead)
		if item == nil {
			continue
		}
		page = append(page, item)
		size += item.bytes()
		if in.Limit != nil && len(page) == *in.Limit || size >= maxPage {
			return page, Item{t.key.AttributeName: {Type: t.key.AttributeType, Text: key}}, nil
		}
	}
	return page, nil, nil
}

func byHash(a, b string) int {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return bytes.Compare(x[:], y[:])
}
