package dynamodb

import (
	"encoding/json"
	"maps"
	"math/big"
	"strings"

	"tokenvendor/scripts/local/awsjson"
)

const (
	// maxItem is the largest item, maxKey the longest hash key, in bytes.
	maxItem = 400 << 10
	maxKey  = 2048
)

// Item is a set of attributes by name.
type Item map[string]Value

// Value is the value of an attribute. Type is S, N, B or BOOL, and Text its text, number,
// bytes, or "true" or "false".
type Value struct{ Type, Text string }

// MarshalJSON implements json.Marshaler.
func (v Value) MarshalJSON() ([]byte, error) {
	var out any = v.Text
	switch v.Type {
	case "B":
		out = []byte(v.Text)
	case "BOOL":
		out = v.Text == "true"
	}
	return json.Marshal(map[string]any{v.Type: out})
}

// UnmarshalJSON implements json.Unmarshaler. An error is an [awsjson.Error] if the JSON is
// that of a value.
func (v *Value) UnmarshalJSON(text []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return err
	}
	if len(members) != 1 {
		return invalid("Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes")
	}
	for name, raw := range members {
		v.Type = name
		switch name {
		case "S", "N":
			return v.unmarshalText(raw)
		case "B":
			var b []byte
			err := json.Unmarshal(raw, &b)
			v.Text = string(b)
			return err
		case "BOOL":
			v.Text = string(raw)
			return json.Unmarshal(raw, new(bool))
		}
		return invalid("this endpoint has no attributes of type " + name)
	}
	return nil
}

func (v *Value) unmarshalText(raw json.RawMessage) error {
	if err := json.Unmarshal(raw, &v.Text); err != nil || v.Type == "S" {
		return err
	}
	if number(v.Text) == nil {
		return invalid("The parameter cannot be converted to a numeric value: " + v.Text)
	}
	return nil
}

// number returns the number that text is; nil: it is none.
func number(text string) *big.Rat {
	if len(text) > 40 || strings.ContainsAny(text, "/_xXpP ") {
		return nil
	}
	n, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil
	}
	return n
}

// compare orders values of one type; ok is false for others, and for types without an order.
func (v Value) compare(w Value) (order int, ok bool) {
	switch {
	case v.Type != w.Type || v.Type == "BOOL":
		return 0, v.Type == w.Type && v.Text == w.Text
	case v.Type == "N":
		return number(v.Text).Cmp(number(w.Text)), true
	}
	return strings.Compare(v.Text, w.Text), true
}

// check checks an item's size. Numbers count as their digits, which is close to AWS's
// encoding (CapacityUnitCalculations.html).
func (i Item) check() *awsjson.Error {
	size := 0
	for name, v := range i {
		size += len(name) + len(v.Text)
		if name == "" {
			return invalid("One or more parameter values were invalid: an attribute's name is empty")
		}
	}
	if size > maxItem {
		return invalid("Item size has exceeded the maximum allowed size")
	}
	return nil
}

// keyOf returns the key that is among an item's attributes.
func (t *table) keyOf(item Item) (string, *awsjson.Error) {
	v, ok := item[t.key]
	switch {
	case !ok || v.Type != "S":
		return "", invalid("The provided key element does not match the schema")
	case v.Text == "":
		return "", invalid("One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty value. Key: " + t.key)
	case len(v.Text) > maxKey:
		return "", invalid("One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of 2048 bytes")
	}
	return v.Text, nil
}

func (s *Server) getItem(in struct {
	TableName            string
	Key                  Item
	ConsistentRead       bool
	ProjectionExpression *string
}) (any, *awsjson.Error) {
	if in.ProjectionExpression != nil {
		return nil, invalid("this endpoint has no ProjectionExpression")
	}
	t, failure := s.find(in.TableName)
	if failure != nil {
		return nil, failure
	}
	key, failure := t.keyOf(in.Key)
	switch item := t.items[key]; {
	case failure != nil:
		return nil, failure
	case len(in.Key) != 1:
		return nil, invalid("The provided key element does not match the schema")
	case item == nil:
		return struct{}{}, nil
	default:
		return map[string]any{"Item": item}, nil
	}
}

func (s *Server) putItem(in struct {
	TableName           string
	Item                Item
	ConditionExpression *string
}) (any, *awsjson.Error) {
	if in.ConditionExpression != nil {
		return nil, invalid("this endpoint has conditions for UpdateItem only")
	}
	t, failure := s.find(in.TableName)
	if failure != nil {
		return nil, failure
	}
	key, failure := t.keyOf(in.Item)
	if failure == nil {
		failure = in.Item.check()
	}
	if failure != nil {
		return nil, failure
	}
	t.items[key] = in.Item
	return struct{}{}, nil
}

type updateInput struct {
	TableName                                         string
	Key                                               Item
	UpdateExpression, ConditionExpression             string
	ExpressionAttributeNames                          map[string]string
	ExpressionAttributeValues                         Item
	ReturnValues, ReturnValuesOnConditionCheckFailure string
}

func (s *Server) updateItem(in updateInput) (any, *awsjson.Error) {
	if in.ReturnValues != "" && in.ReturnValues != "NONE" && in.ReturnValues != "ALL_OLD" {
		return nil, invalid("this endpoint has the ReturnValues NONE and ALL_OLD only")
	}
	p := parser{names: in.ExpressionAttributeNames, values: in.ExpressionAttributeValues, used: make(map[string]bool)}
	change, failure := p.update(in.UpdateExpression)
	if failure != nil {
		return nil, failure
	}
	condition, failure := p.condition(in.ConditionExpression)
	if failure == nil {
		failure = p.unused()
	}
	if failure != nil {
		return nil, failure
	}
	t, failure := s.find(in.TableName)
	if failure != nil {
		return nil, failure
	}
	key, failure := t.keyOf(in.Key)
	switch {
	case failure != nil:
		return nil, failure
	case len(in.Key) != 1:
		return nil, invalid("The provided key element does not match the schema")
	case change.touches(t.key):
		return nil, invalid("One or more parameter values were invalid: Cannot update attribute " + t.key + ". This attribute is part of the key")
	}
	old := t.items[key]
	if !condition(old) {
		failure := fail(conditionFailed, "The conditional request failed")
		if in.ReturnValuesOnConditionCheckFailure == "ALL_OLD" && old != nil {
			failure.Members = map[string]any{"Item": old}
		}
		return nil, failure
	}
	item := maps.Clone(old)
	if item == nil {
		item = maps.Clone(in.Key)
	}
	change.apply(item)
	if failure := item.check(); failure != nil {
		return nil, failure
	}
	t.items[key] = item
	if in.ReturnValues != "ALL_OLD" || old == nil {
		return struct{}{}, nil
	}
	return map[string]any{"Attributes": old}, nil
}
