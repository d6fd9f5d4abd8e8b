package dynamodb

import "encoding/json"

const (
	// maxItem is the largest item in bytes.
	maxItem = 400 << 10
	// maxKey is the longest hash key in bytes.
	maxKey = 2048
)

type getInput struct {
	TableName            string
	Key                  Item
	ConsistentRead       bool
	ProjectionExpression *string
	AttributesToGet      json.RawMessage
	placeholders
}

func (s *Server) getItem(in getInput) (any, *apiError) {
	if in.AttributesToGet != nil {
		return nil, legacy("AttributesToGet")
	}
	project, failure := in.projection(in.ProjectionExpression)
	if failure != nil {
		return nil, failure
	}
	t, failure := s.find(in.TableName)
	if failure != nil {
		return nil, failure
	}
	key, failure := t.keyOf(in.Key)
	if failure != nil {
		return nil, failure
	}
	item := s.read(t.rows[key], in.ConsistentRead)
	if item == nil {
		return struct{}{}, nil
	}
	return map[string]any{"Item": project(item)}, nil
}

// read returns what a read of a row sees.
func (s *Server) read(r row, consistent bool) Item {
	if s.stale && !consistent {
		return r.before
	}
	return r.item
}

func legacy(member string) *apiError {
	return invalid("this endpoint has no " + member + ", which expressions have replaced")
}

// projection returns what a ProjectionExpression, if there is one, leaves of an
// item.
func (in placeholders) projection(text *string) (project func(Item) Item, failure *apiError) {
	expressions := 0
	if text != nil {
		expressions = 1
	}
	scope, failure := in.scope(expressions)
	if failure != nil || text == nil {
		return func(i Item) Item { return i }, failure
	}
	project, failure = scope.projection(*text)
	if failure != nil {
		return nil, failure
	}
	return project, scope.unused()
}

func (s *scope) projection(text string) (project func(Item) Item, failure *apiError) {
	p := s.expression("ProjectionExpression", text)
	names := p.projection()
	return func(i Item) Item { return i.only(names) }, p.finish()
}

// only returns those attributes that are there.
func (i Item) only(names []string) Item {
	out := make(Item)
	for _, name := range names {
		if v, ok := i[name]; ok {
			out[name] = v
		}
	}
	return out
}

// keyOf returns the key of a Key, which has one attribute.
func (t *table) keyOf(key Item) (string, *apiError) {
	v, ok := key[t.key.AttributeName]
	if !ok || len(key) != 1 || v.Type != t.key.AttributeType {
		return "", invalid("The provided key element does not match the schema")
	}
	return t.keyIn(key)
}

// keyIn returns the key that is among an item's attributes.
func (t *table) keyIn(item Item) (string, *apiError) {
	const wrong = "One or more parameter values were invalid: "
	name := t.key.AttributeName
	v, ok := item[name]
	switch {
	case !ok:
		return "", invalid(wrong + "Missing the key " + name + " in the item")
	case v.Type != t.key.AttributeType:
		return "", invalid(wrong + "Type mismatch for key " + name + " expected: " + t.key.AttributeType + " actual: " + v.Type)
	case v.Text == "":
		return "", invalid("One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty value. Key: " + name)
	case len(v.Text) > maxKey:
		return "", invalid(wrong + "Size of hashkey has exceeded the maximum size limit of 2048 bytes")
	}
	v, failure := v.normal(1)
	return v.Text, failure
}
