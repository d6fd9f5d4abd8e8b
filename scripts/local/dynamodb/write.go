package dynamodb

import (
	"encoding/json"
	"slices"
	"strings"
)

// write is what the inputs of PutItem, UpdateItem and DeleteItem share.
type write struct {
	TableName                           string
	ConditionExpression                 *string
	ReturnValues                        string
	ReturnValuesOnConditionCheckFailure string
	Expected, ConditionalOperator       json.RawMessage
	placeholders
}

// parse reads the expressions; change is nil where there can be none.
func (in write) parse(change *string) (c condition, u update, failure *apiError) {
	if failure := in.check(); failure != nil {
		return nil, u, failure
	}
	expressions := 0
	for _, text := range []*string{in.ConditionExpression, change} {
		if text != nil {
			expressions++
		}
	}
	scope, failure := in.scope(expressions)
	if failure != nil {
		return nil, u, failure
	}
	if change != nil {
		p := scope.expression("UpdateExpression", *change)
		u = p.update()
		if failure := p.finish(); failure != nil {
			return nil, u, failure
		}
	}
	if in.ConditionExpression != nil {
		p := scope.expression("ConditionExpression", *in.ConditionExpression)
		c = p.condition()
		if failure := p.finish(); failure != nil {
			return nil, u, failure
		}
	}
	return c, u, scope.unused()
}

func (in write) check() *apiError {
	switch {
	case in.Expected != nil:
		return legacy("Expected")
	case in.ConditionalOperator != nil:
		return legacy("ConditionalOperator")
	case !slices.Contains([]string{"", "NONE", "ALL_OLD", "ALL_NEW", "UPDATED_OLD", "UPDATED_NEW"}, in.ReturnValues):
		return invalid("ReturnValues must be one of NONE, ALL_OLD, ALL_NEW, UPDATED_OLD, UPDATED_NEW")
	case !slices.Contains([]string{"", "NONE", "ALL_OLD"}, in.ReturnValuesOnConditionCheckFailure):
		return invalid("ReturnValuesOnConditionCheckFailure must be NONE or ALL_OLD")
	}
	return nil
}

// meet looks whether the item that is there is as the caller asked.
func (in write) meet(c condition, old Item) *apiError {
	if c == nil || c(old) {
		return nil
	}
	failure := fail(conditionFailed, "The conditional request failed")
	if in.ReturnValuesOnConditionCheckFailure == "ALL_OLD" && old != nil {
		failure.Members = map[string]any{"Item": old}
	}
	return failure
}

// onlyOld is the error of ReturnValues that go with UpdateItem alone.
func (in write) onlyOld() *apiError {
	if strings.HasPrefix(in.ReturnValues, "UPDATED_") || in.ReturnValues == "ALL_NEW" {
		return invalid("Return values set to invalid value")
	}
	return nil
}

// replaced answers with the old item, if it was asked for and there was one.
func (in write) replaced(old Item) any {
	if in.ReturnValues != "ALL_OLD" || old == nil {
		return struct{}{}
	}
	return map[string]any{"Attributes": old}
}

func (s *Server) putItem(in struct {
	Item Item
	write
}) (any, *apiError) {
	condition, _, failure := in.parse(nil)
	if failure == nil {
		failure = in.onlyOld()
	}
	if failure != nil {
		return nil, failure
	}
	t, failure := s.find(in.TableName)
	if failure != nil {
		return nil, failure
	}
	item, failure := in.Item.normal(1)
	if failure != nil {
		return nil, failure
	}
	key, failure := t.keyIn(item)
	if failure == nil {
		failure = item.check("Item size has exceeded the maximum allowed size")
	}
	if failure != nil {
		return nil, failure
	}
	old := t.rows[key].item
	if failure := in.meet(condition, old); failure != nil {
		return nil, failure
	}
	t.put(key, item)
	return in.replaced(old), nil
}

// check looks at an item as a whole.
func (i Item) check(tooLarge string) *apiError {
	if _, ok := i[""]; ok {
		return invalid("One or more parameter values were invalid: an attribute's name is empty")
	}
	if i.bytes() > maxItem {
		return invalid(tooLarge)
	}
	return nil
}

func (s *Server) deleteItem(in struct {
	Key Item
	write
}) (any, *apiError) {
	condition, _, failure := in.parse(nil)
	if failure == nil {
		failure = in.onlyOld()
	}
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
	old := t.rows[key].item
	if failure := in.meet(condition, old); failure != nil {
		return nil, failure
	}
	if old != nil {
		t.put(key, nil)
	}
	return in.replaced(old), nil
}

type updateInput struct {
	Key              Item
	UpdateExpression *string
	AttributeUpdates json.RawMessage
	write
}

func (s *Server) updateItem(in updateInput) (any, *apiError) {
	if in.AttributeUpdates != nil {
		return nil, legacy("AttributeUpdates")
	}
	condition, change, failure := in.parse(in.UpdateExpression)
	if failure != nil {
		return nil, failure
	}
	t, failure := s.find(in.TableName)
	if failure != nil {
		return nil, failure
	}
	key, failure := t.keyOf(in.Key)
	if failure == nil {
		failure = change.keeps(t.key.AttributeName)
	}
	if failure != nil {
		return nil, failure
	}
	old := t.rows[key].item
	if failure := in.meet(condition, old); failure != nil {
		return nil, failure
	}
	item, failure := change.applyTo(t, key, old)
	if failure != nil {
		return nil, failure
	}
	if item != nil {
		t.put(key, item)
	}
	return in.updated(old, item, change.paths()), nil
}

// keeps refuses a change of the key.
func (u update) keeps(name string) *apiError {
	if slices.Contains(u.paths(), name) {
		return invalid("One or more parameter values were invalid: Cannot update attribute " + name + ". This attribute is part of the key")
	}
	return nil
}

// applyTo returns the changed item, which is a new one where there was none. An
// update that only removes attributes makes none: nil.
func (u update) applyTo(t *table, key string, old Item) (Item, *apiError) {
	if old == nil {
		if len(u.set) == 0 && len(u.remove) > 0 {
			return nil, nil
		}
		old = Item{t.key.AttributeName: {Type: t.key.AttributeType, Text: key}}
	}
	item, failure := u.apply(old)
	if failure != nil {
		return nil, failure
	}
	return item, item.check("Item size to update has exceeded the maximum allowed size")
}

// updated answers with what ReturnValues asks for.
func (in write) updated(old, item Item, paths []string) any {
	var out Item
	switch in.ReturnValues {
	case "ALL_OLD":
		out = old
	case "ALL_NEW":
		out = item
	case "UPDATED_OLD":
		out = old.only(paths)
	case "UPDATED_NEW":
		out = item.only(paths)
	}
	if len(out) == 0 {
		return struct{}{}
	}
	return map[string]any{"Attributes": out}
}
