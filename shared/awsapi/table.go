package awsapi

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"tokenvendor/shared/fleet"
)

// The attributes of a row. Expressions use placeholders with # for all of them, because
// DynamoDB reserves some of the words.
const (
	attributeName      = "name"
	attributeUntil     = "until"
	attributeOwner     = "owner"
	attributeState     = "state"
	attributeValue     = "value"
	attributeExpiresAt = "expires_at" // the table's TTL attribute
)

// Table is a DynamoDB table whose hash key is the string "name". It implements
// [fleet.Table] and is safe for concurrent use. Calls are not retried, because callers
// continue without the table if it is slow. The error of a throttled call wraps
// [fleet.ErrThrottled].
type Table struct {
	client *dynamodb.Client
	name   *string
}

// NewTable returns the table of the given name in cfg's region.
func NewTable(cfg aws.Config, name string) *Table {
	return &Table{
		client: dynamodb.NewFromConfig(cfg, func(o *dynamodb.Options) { o.RetryMaxAttempts = 1 }),
		name:   aws.String(name),
	}
}

// Get reads a row with a strongly consistent read; nil if there is none.
func (t *Table) Get(ctx context.Context, name string) (*fleet.Item, error) {
	out, err := t.client.GetItem(ctx, &dynamodb.GetItemInput{TableName: t.name, Key: key(name), ConsistentRead: aws.Bool(true)})
	if err != nil {
		return nil, tableError(ctx, err)
	}
	return item(out.Item), nil
}

// Update writes a row if condition is true. If it is false, Update returns the present row,
// which some endpoints do not return with the error and must be asked for.
func (t *Table) Update(ctx context.Context, row fleet.Item, condition fleet.Condition) (old *fleet.Item, ok bool, err error) {
	w := write{names: make(map[string]string), values: make(map[string]types.AttributeValue)}
	update := w.update(row)
	out, err := t.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:                           t.name,
		Key:                                 key(row.Name),
		UpdateExpression:                    &update,
		ConditionExpression:                 aws.String(w.condition(condition)),
		ExpressionAttributeNames:            w.names,
		ExpressionAttributeValues:           w.values,
		ReturnValues:                        types.ReturnValueAllOld,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	var refused *types.ConditionalCheckFailedException
	switch {
	case err == nil:
		return item(out.Attributes), true, nil
	case errors.As(err, &refused) && len(refused.Item) > 0:
		return item(refused.Item), false, nil
	case errors.As(err, &refused):
		old, err := t.Get(ctx, row.Name)
		return old, false, err
	}
	return nil, false, tableError(ctx, err)
}

// write collects the names and values of an expression.
type write struct {
	names  map[string]string
	values map[string]types.AttributeValue
}

func (w write) name(attribute string) string {
	w.names["#"+attribute] = attribute
	return "#" + attribute
}

func (w write) value(placeholder string, v types.AttributeValue) string {
	w.values[":"+placeholder] = v
	return ":" + placeholder
}

// update returns the expression that writes row. It removes the owner if row has none.
func (w write) update(row fleet.Item) string {
	sets := []string{w.set(attributeUntil, number(row.Until)), w.set(attributeExpiresAt, number(row.ExpiresAt))}
	if row.State != nil {
		sets = append(sets, w.set(attributeState, blob(row.State)))
	}
	if row.Value != nil {
		sets = append(sets, w.set(attributeValue, blob(row.Value)))
	}
	remove := ""
	if row.Owner != "" {
		sets = append(sets, w.set(attributeOwner, &types.AttributeValueMemberS{Value: row.Owner}))
	} else {
		remove = " REMOVE " + w.name(attributeOwner)
	}
	return "SET " + strings.Join(sets, ", ") + remove
}

func (w write) set(attribute string, v types.AttributeValue) string {
	return w.name(attribute) + " = " + w.value(attribute, v)
}

func (w write) condition(c fleet.Condition) string {
	until := w.name(attributeUntil)
	switch {
	case c.Any:
		return "attribute_not_exists(" + until + ") OR attribute_exists(" + until + ")"
	case c.Like != nil && c.Like.Name == "":
		return "attribute_not_exists(" + w.name(attributeName) + ")"
	case c.Like != nil:
		return w.same(attributeUntil, c.Like.Until != 0, number(c.Like.Until)) + " AND " +
			w.same(attributeState, len(c.Like.State) != 0, blob(c.Like.State))
	case c.OwnedBy != "":
		return w.name(attributeOwner) + " = " + w.value("me", &types.AttributeValueMemberS{Value: c.OwnedBy}) +
			" AND " + until + " >= " + w.value("now", number(c.OwnedAt))
	}
	return "attribute_not_exists(" + until + ") OR " + until + " <= " + w.value("now", number(c.FreeAt))
}

// same returns the condition that an attribute is v, or absent.
func (w write) same(attribute string, present bool, v types.AttributeValue) string {
	if !present {
		return "attribute_not_exists(" + w.name(attribute) + ")"
	}
	return w.name(attribute) + " = " + w.value("seen_"+attribute, v)
}

func key(name string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{attributeName: &types.AttributeValueMemberS{Value: name}}
}

func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

func blob(b []byte) types.AttributeValue { return &types.AttributeValueMemberB{Value: b} }

// item returns a row; nil if there is none. Attributes of another type count as absent.
func item(attributes map[string]types.AttributeValue) *fleet.Item {
	if len(attributes) == 0 {
		return nil
	}
	return &fleet.Item{
		Name:      member[types.AttributeValueMemberS](attributes[attributeName]).Value,
		Owner:     member[types.AttributeValueMemberS](attributes[attributeOwner]).Value,
		Until:     integer(attributes[attributeUntil]),
		ExpiresAt: integer(attributes[attributeExpiresAt]),
		State:     member[types.AttributeValueMemberB](attributes[attributeState]).Value,
		Value:     member[types.AttributeValueMemberB](attributes[attributeValue]).Value,
	}
}

// member returns an attribute of type T; the zero value if it has another type.
func member[T any](v types.AttributeValue) (m T) {
	if p, ok := any(v).(*T); ok {
		return *p
	}
	return m
}

func integer(v types.AttributeValue) int64 {
	i, _ := strconv.ParseInt(member[types.AttributeValueMemberN](v).Value, 10, 64)
	return i
}

// tableError is codeError that tells a throttled call from one that failed. The codes are those
// of the page Programming.Errors.html of DynamoDB's developer guide.
func tableError(ctx context.Context, err error) error {
	switch ErrorCode(err) {
	case "ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded":
		return fmt.Errorf("dynamodb: %s: %w", ErrorCode(err), fleet.ErrThrottled)
	}
	return codeError(ctx, "dynamodb", err)
}

// codeError returns the code of err, or the error of an ended context.
func codeError(ctx context.Context, service string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", service, ctx.Err())
	}
	return fmt.Errorf("%s: %s", service, ErrorCode(err))
}
