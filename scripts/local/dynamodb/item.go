package dynamodb

import (
	"encoding/json"
	"maps"
	"math/big"
	"strings"

	"tokenvendor/scripts/local/awsjson"
)

const (
	maxItem = 400 << 10 // bytes
	maxKey  = 2048      // bytes of a hash key
)

// Item is a set of attributes by name.
type Item map[string]Value

// Value is the value of an attribute. Type is S, N, B or BOOL. Text is the text, the number,
// the bytes, or "true" or "false".
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

// UnmarshalJSON implements json.Unmarshaler. The error is an [awsjson.Error] if the type or
// the number is wrong.
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
		return invalid("attributes of type " + name + " are not supported")
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

// number returns the value of a number. Nil: text is not a number.
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

// compare compares values. ok is false for different types and for different booleans, which
// have no order.
func (v Value) compare(w Value) (order int, ok bool) {
	switch {
	case v.Type != w.Type || v.Type == "BOOL":
		return 0, v.Type == w.Type && v.Text == w.Text
	case v.Type == "N":
		return number(v.Text).Cmp(number(w.Text)), true
	}
	return strings.Compare(v.Text, w.Text), true
}

// size returns the size of an item in bytes. A number has the size of its digits, which is
// close to AWS's encoding (CapacityUnitCalculations.html).
func (i Item) size() (n int) {
	for name, v := range i {
		n += len(name) + len(v.Text)
	}
	return n
}

// check checks the names and the size of an item.
func (i Item) check() *awsjson.Error {
	if _, ok := i[""]; ok {
		return invalid("One or more parameter values were invalid: an attribute's name is empty")
	}
	if i.size() > maxItem {
		return invalid("Item size has exceeded the maximum allowed size")
	}
	return nil
}

// keyOf returns the key among an item's attributes.
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

// rowKey returns the key that in is, which must have no other attributes.
func (t *table) rowKey(in Item) (string, *awsjson.Error) {
	key, failure := t.keyOf(in)
	if failure == nil && len(in) != 1 {
		failure = invalid("The provided key element does not match the schema")
	}
	return key, failure
}

func (s *Server) getItem(in struct {
	TableName      string
	Key            Item
	ConsistentRead bool
}) (any, *awsjson.Error) {
	t, failure := s.find(in.TableName)
	if failure != nil {
		return nil, failure
	}
	key, failure := t.rowKey(in.Key)
	if failure == nil {
		failure = s.read(t, key, in.ConsistentRead)
	}
	switch item := t.items[key]; {
	case failure != nil:
		return nil, failure
	case item == nil:
		return struct{}{}, nil
	default:
		return map[string]any{"Item": item}, nil
	}
}

func (s *Server) putItem(in struct {
	TableName string
	Item      Item
}) (any, *awsjson.Error) {
	t, failure := s.find(in.TableName)
	if failure != nil {
		return nil, failure
	}
	key, failure := t.keyOf(in.Item)
	if failure == nil {
		failure = in.Item.check()
	}
	if failure == nil {
		failure = s.write(t, key, in.Item)
	}
	if failure != nil {
		return nil, failure
	}
	t.items[key] = in.Item
	return struct{}{}, nil
}

// scan returns all items in one page, of any size.
func (s *Server) scan(in struct{ TableName string }) (any, *awsjson.Error) {
	t, failure := s.find(in.TableName)
	if failure != nil {
		return nil, failure
	}
	items := t.sorted()
	return map[string]any{"Items": items, "Count": len(items), "ScannedCount": len(items)}, nil
}

type updateInput struct {
	TableName                                         string
	Key                                               Item
	UpdateExpression, ConditionExpression             string
	ExpressionAttributeNames                          map[string]string
	ExpressionAttributeValues                         Item
	ReturnValues, ReturnValuesOnConditionCheckFailure string
}

// parse returns the expressions of an update.
func (in updateInput) parse() (update, condition, *awsjson.Error) {
	p := parser{names: in.ExpressionAttributeNames, values: in.ExpressionAttributeValues, used: make(map[string]bool)}
	change, failure := p.update(in.UpdateExpression)
	if failure != nil {
		return update{}, nil, failure
	}
	isTrue, failure := p.condition(in.ConditionExpression)
	if failure == nil {
		failure = p.unused()
	}
	return change, isTrue, failure
}

func (s *Server) updateItem(in updateInput) (any, *awsjson.Error) {
	if in.ReturnValues != "" && in.ReturnValues != "NONE" && in.ReturnValues != "ALL_OLD" {
		return nil, invalid("only the ReturnValues NONE and ALL_OLD are supported")
	}
	change, isTrue, failure := in.parse()
	if failure != nil {
		return nil, failure
	}
	t, failure := s.find(in.TableName)
	if failure != nil {
		return nil, failure
	}
	key, failure := t.rowKey(in.Key)
	switch {
	case failure != nil:
		return nil, failure
	case change.touches(t.key):
		return nil, invalid("One or more parameter values were invalid: Cannot update attribute " + t.key + ". This attribute is part of the key")
	}
	old := t.items[key]
	if !isTrue(old) {
		if failure := s.write(t, key, nil); failure != nil {
			return nil, failure
		}
		failure := fail(conditionFailed, "The conditional request failed")
		if in.ReturnValuesOnConditionCheckFailure == "ALL_OLD" && old != nil {
			failure.Members = map[string]any{"Item": old}
		}
		return nil, failure
	}
	if failure := s.update(t, key, change); failure != nil {
		return nil, failure
	}
	if in.ReturnValues != "ALL_OLD" || old == nil {
		return struct{}{}, nil
	}
	return map[string]any{"Attributes": old}, nil
}

// update replaces an item by a changed copy, or adds an item.
func (s *Server) update(t *table, key string, change update) *awsjson.Error {
	item := maps.Clone(t.items[key])
	if item == nil {
		item = Item{t.key: {"S", key}}
	}
	change.apply(item)
	if failure := item.check(); failure != nil {
		return failure
	}
	if failure := s.write(t, key, item); failure != nil {
		return failure
	}
	t.items[key] = item
	return nil
}
