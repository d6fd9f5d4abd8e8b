package dynamodb_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// values are those that a condition may refer to; only those that it names are
// sent.
func values() attributes {
	return attributes{
		":me": text("me"), ":you": text("you"), ":m": text("m"), ":z": text("z"), ":five": number("5"), ":four": number("4"), ":six": number("6"),
		":fiveToo": number("5.00"), ":text5": text("5"), ":big": number("12345678901234567890123456789012345679"), ":yes": truth(true),
		":bytes": bytesOf("\x00\x01"), ":S": text("S"), ":N": text("N"), ":SS": text("SS"), ":wrong": text("X"), ":one": number("1"), ":two": number("2"),
		":words": &types.AttributeValueMemberSS{Value: []string{"b", "a"}}, ":a": text("a"), ":x": text("x"), ":three": number("3"), ":none": &types.AttributeValueMemberNULL{Value: true},
		":tree": &types.AttributeValueMemberM{Value: attributes{"k": text("v")}}, ":list": &types.AttributeValueMemberL{Value: []types.AttributeValue{text("x"), number("1.0")}},
		":numbers": &types.AttributeValueMemberNS{Value: []string{"2.50", "1"}}, ":empty": text(""), ":tenth": number("0.1"),
	}
}

func names() map[string]string {
	return map[string]string{"#owner": "owner", "#data": "data", "#words": "words", "#numbers": "numbers", "#blobs": "blobs", "#list": "list", "#tree": "tree", "#status": "status", "#nothing": "nothing", "#yes": "yes", "#dot": "a.b"}
}

// only keeps what an expression refers to.
func only[V any](all map[string]V, expressions ...string) map[string]V {
	words := strings.FieldsFunc(strings.Join(expressions, " "), func(r rune) bool { return strings.ContainsRune(" \t\r\n()=<>,+-.[", r) })
	used := make(map[string]V)
	for _, word := range words {
		if v, ok := all[word]; ok {
			used[word] = v
		}
	}
	if len(used) == 0 {
		return nil
	}
	return used
}

// conditions are tried on an item. moto says what moto does otherwise.
var conditions = []struct{ expression, want, moto string }{
	{"n = :five", "", ""},
	{"n = :fiveToo", "", ""},
	{"n = :text5", failed, ""},
	{"n = :six", failed, ""},
	{":five = n", "", ""},
	{"n <> :five", failed, ""},
	{"n <> :six", "", ""},
	{"n <> :text5", "", ""},
	{"n < :six", "", ""},
	{"n < :five", failed, ""},
	{"n <= :five", "", ""},
	{"n > :four", "", ""},
	{"n > :five", failed, ""},
	{"n >= :five", "", ""},
	{"n >= :six", failed, ""},
	{"n < :text5", failed, "compares numbers with text"},
	{"big < :big", "", ""},
	{"big = :big", failed, ""},
	{"#owner = :me", "", ""},
	{"#owner < :z", "", ""},
	{"#owner > :m", "", ""},
	{"#data > :bytes", "", ""},
	{"#yes = :yes", "", ""},
	{"#words = :words", "", ""},
	{"#numbers = :numbers", "", ""},
	{"#list = :list", "", ""},
	{"#tree = :tree", "", ""},
	{"#nothing = :none", "", ""},
	{"absent = :me", failed, ""},
	{"absent <> :me", "", ""},
	{"absent < :me", failed, ""},
	{"absent > :me", failed, ""},
	{"absent = absent2", failed, "says that what is absent is equal"},
	{"NOT absent = :me", "", ""},
	{"#owner = id", failed, ""},
	{"n BETWEEN :four AND :six", "", ""},
	{"n BETWEEN :five AND :five", "", ""},
	{"n BETWEEN :six AND :big", failed, ""},
	{"#owner BETWEEN :m AND :z", "", ""},
	{"absent BETWEEN :m AND :z", failed, ""},
	{"n between :four and :six and #owner = :me", "", ""},
	{"NOT n BETWEEN :four AND :six", failed, ""},
	{"#owner IN (:you, :me)", "", ""},
	{"#owner IN (:you)", failed, ""},
	{"n IN (:text5, :fiveToo)", "", ""},
	{"absent IN (:me)", failed, ""},
	{"attribute_exists(n)", "", ""},
	{"attribute_exists(#nothing)", "", ""},
	{"attribute_exists(absent)", failed, ""},
	{"attribute_not_exists(absent)", "", ""},
	{"attribute_not_exists(n)", failed, ""},
	{"attribute_not_exists(#dot)", "", ""},
	{"attribute_type(n, :N)", "", ""},
	{"attribute_type(n, :S)", failed, ""},
	{"attribute_type(#words, :SS)", "", ""},
	{"attribute_type(absent, :S)", failed, ""},
	{"begins_with(#owner, :m)", "", ""},
	{"begins_with(#owner, :me)", "", ""},
	{"begins_with(#owner, :empty)", "", ""},
	{"begins_with(#owner, :you)", failed, ""},
	{"begins_with(#data, :bytes)", "", "compares the base64 of bytes"},
	{"begins_with(n, :text5)", failed, ""},
	{"begins_with(absent, :m)", failed, ""},
	{"contains(#owner, :m)", "", ""},
	{"contains(#owner, :z)", failed, ""},
	{"contains(#words, :a)", "", ""},
	{"contains(#words, :m)", failed, ""},
	{"contains(#numbers, :one)", "", ""},
	{"contains(#numbers, :a)", failed, ""},
	{"contains(#list, :x)", "", ""},
	{"contains(#list, :one)", "", ""},
	{"contains(#list, :two)", failed, ""},
	{"contains(absent, :m)", failed, ""},
	{"contains(n, :text5)", failed, ""},
	{"size(#owner) = :two", "", ""},
	{"size(#owner) < :three", "", ""},
	{"size(#data) = :three", "", ""},
	{"size(#words) = :two", "", ""},
	{"size(#list) BETWEEN :one AND :three", "", ""},
	{"size(#tree) IN (:one)", "", ""},
	{"size(absent) = :two", failed, "fails to answer"},
	{"size(n) = :one", failed, "takes the size of a number"},
	// Precedence: NOT before AND before OR.
	{"n = :five OR n = :six AND n = :six", "", ""},
	{"(n = :five OR n = :six) AND n = :six", failed, ""},
	{"NOT n = :six AND n = :five", "", ""},
	{"NOT n = :five OR n = :five", "", ""},
	{"NOT (n = :five OR n = :six)", failed, ""},
	{"NOT NOT n = :five", "", "fails to answer"},
	{"n = :six OR n = :five", "", ""},
	{"n = :five and #owner = :me Or n = :six", "", ""},
	{"(attribute_not_exists(id)) OR (n<:six)", "", ""},
	{"\tn\n=\r:five ", "", "fails to answer where there are tabs and line ends"},

	{"", invalid, "takes an empty condition"},
	{" ", invalid, "takes a condition of blanks"},
	{"n", invalid, "fails to answer"},
	{"n =", invalid, "fails to answer"},
	{"= :five", invalid, "fails to answer"},
	{"n == :five", invalid, "fails to answer"},
	{"n = :five AND", invalid, "fails to answer"},
	{"n = :five :six", invalid, "fails to answer"},
	{"(n = :five", invalid, "fails to answer"},
	{"n = :five)", invalid, "fails to answer"},
	{"((n = :five))", invalid, ""},
	{"n ! :five", invalid, "fails to answer to what is no token"},
	{"n BETWEEN :four OR :six", invalid, "fails to answer"},
	{"n BETWEEN :six AND :four", invalid, "takes bounds the wrong way round"},
	{"n BETWEEN :text5 AND :six", invalid, "takes bounds of two types"},
	{"n IN ()", invalid, "fails to answer"},
	{"n IN :five", invalid, "fails to answer"},
	{"n = n", invalid, "compares an attribute with itself"},
	{"#yes < :yes", invalid, "orders all types"},
	{"begins_with(#owner, :five)", invalid, "looks for all types in text"},
	{"begins_with(#owner)", invalid, "fails to answer"},
	{"begins_with(#owner, :m, :z)", invalid, "fails to answer"},
	{"attribute_exists(:me)", invalid, "takes a value for a path"},
	{"attribute_exists()", invalid, "fails to answer"},
	{"attribute_exists(n, #owner)", invalid, "fails to answer"},
	{"attribute_type(n, :wrong)", invalid, "takes any name of a type"},
	{"attribute_type(n, :five)", invalid, "takes any name of a type"},
	{"size(n)", invalid, "fails to answer"},
	{"attribute_exists(n) = :yes", invalid, "compares what is no value"},
	{"n = begins_with(#owner, :m)", invalid, "compares what is no value"},
	{"unknown(n)", invalid, ""},
	{"ATTRIBUTE_EXISTS(n)", invalid, "takes functions in any case"},
	{"if_not_exists(n, :five) = :five", invalid, "fails to answer"},
	{"status = :me", invalid, ""},
	{"#undefined = :me", invalid, "fails to answer"},
	{"n = :undefined", invalid, "fails to answer"},
	{"#tree.k = :me", invalid, "has paths into lists and maps"},
	{"#list[0] = :me", invalid, "has paths into lists and maps"},
}

func TestConditions(t *testing.T) {
	s := newSuite(t)
	s.put(item("a"))
	for _, tt := range conditions {
		t.Run(tt.expression, func(t *testing.T) {
			s := s.in(t)
			if tt.moto != "" && s.differs(tt.moto) {
				return
			}
			in := &dynamodb.PutItemInput{TableName: s.table, Item: item("a"), ConditionExpression: &tt.expression,
				ExpressionAttributeNames: only(names(), tt.expression), ExpressionAttributeValues: only(values(), tt.expression)}
			_, err := s.api.PutItem(t.Context(), in)
			s.wantCode(err, tt.want)
		})
	}
}

// TestPlaceholders: what is given must be used, and be what it looks like.
func TestPlaceholders(t *testing.T) {
	s := newSuite(t)
	s.put(item("a"))
	for _, tt := range []struct {
		name   string
		in     dynamodb.PutItemInput
		differ string
	}{
		{"unused value", dynamodb.PutItemInput{ConditionExpression: aws.String("n = :five"), ExpressionAttributeValues: attributes{":five": number("5"), ":six": number("6")}}, "takes values that no condition uses"},
		{"unused name", dynamodb.PutItemInput{ConditionExpression: aws.String("attribute_exists(n)"), ExpressionAttributeNames: map[string]string{"#n": "n"}}, ""},
		{"names without expression", dynamodb.PutItemInput{ExpressionAttributeNames: map[string]string{"#n": "n"}}, ""},
		{"values without expression", dynamodb.PutItemInput{ExpressionAttributeValues: attributes{":n": number("5")}}, "takes values without an expression"},
		{"no names", dynamodb.PutItemInput{ConditionExpression: aws.String("attribute_exists(n)"), ExpressionAttributeNames: map[string]string{}}, "takes names that are none"},
		{"no values", dynamodb.PutItemInput{ConditionExpression: aws.String("attribute_exists(n)"), ExpressionAttributeValues: attributes{}}, ""},
		{"name without #", dynamodb.PutItemInput{ConditionExpression: aws.String("attribute_exists(n)"), ExpressionAttributeNames: map[string]string{"n": "n"}}, "takes placeholders of any form"},
		{"value without :", dynamodb.PutItemInput{ConditionExpression: aws.String("n = :n"), ExpressionAttributeValues: attributes{":n": number("5"), "n": number("5")}}, ""},
		{"value that is none", dynamodb.PutItemInput{ConditionExpression: aws.String("n = :n"), ExpressionAttributeValues: attributes{":n": number("five")}}, "takes numbers that are none"},
		{"too long", dynamodb.PutItemInput{ConditionExpression: aws.String("attribute_exists(n)" + strings.Repeat(" ", 4096))}, "takes expressions of any length"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := s.in(t)
			if tt.differ != "" && s.differs(tt.differ) {
				return
			}
			tt.in.TableName, tt.in.Item = s.table, key("a")
			_, err := s.api.PutItem(t.Context(), &tt.in)
			s.wantCode(err, invalid)
		})
	}
	if s.ours {
		s.wantItem(s.get("a"), item("a"))
	}
}

// TestConditionFailed: the answer carries the item that was in the way, if asked.
func TestConditionFailed(t *testing.T) {
	s := newSuite(t)
	s.put(item("a"))
	condition, value := aws.String("#owner = :you"), attributes{":you": text("you")}
	owner := map[string]string{"#owner": "owner"}
	for name, call := range map[string]func(id string, r types.ReturnValuesOnConditionCheckFailure) error{
		"put": func(id string, r types.ReturnValuesOnConditionCheckFailure) error {
			_, err := s.api.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: s.table, Item: key(id), ConditionExpression: condition, ExpressionAttributeNames: owner, ExpressionAttributeValues: value, ReturnValuesOnConditionCheckFailure: r})
			return err
		},
		"update": func(id string, r types.ReturnValuesOnConditionCheckFailure) error {
			_, err := s.api.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{TableName: s.table, Key: key(id), UpdateExpression: aws.String("SET n = :you"), ConditionExpression: condition, ExpressionAttributeNames: owner, ExpressionAttributeValues: value, ReturnValuesOnConditionCheckFailure: r})
			return err
		},
		"delete": func(id string, r types.ReturnValuesOnConditionCheckFailure) error {
			_, err := s.api.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: s.table, Key: key(id), ConditionExpression: condition, ExpressionAttributeNames: owner, ExpressionAttributeValues: value, ReturnValuesOnConditionCheckFailure: r})
			return err
		},
	} {
		for _, tt := range []struct {
			name, id string
			returns  types.ReturnValuesOnConditionCheckFailure
			want     attributes
		}{
			{"asked", "a", types.ReturnValuesOnConditionCheckFailureAllOld, item("a")},
			{"not asked", "a", "", nil},
			{"none", "a", types.ReturnValuesOnConditionCheckFailureNone, nil},
			{"nothing there", "b", types.ReturnValuesOnConditionCheckFailureAllOld, nil},
		} {
			t.Run(name+" "+tt.name, func(t *testing.T) {
				s := s.in(t)
				err := call(tt.id, tt.returns)
				var failure *types.ConditionalCheckFailedException
				if !errors.As(err, &failure) {
					t.Fatalf("error is %v", err)
				}
				s.wantItem(failure.Item, tt.want)
			})
		}
	}
	s.wantItem(s.get("a"), item("a"))
	s.wantItem(s.get("b"), nil)
}

// TestReturnValues of what PutItem and DeleteItem replace.
func TestReturnValues(t *testing.T) {
	s := newSuite(t)
	put := func(want attributes, r types.ReturnValue) {
		t.Helper()
		out, err := s.api.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: s.table, Item: item("a"), ReturnValues: r})
		if err != nil {
			t.Fatal(err)
		}
		s.wantItem(out.Attributes, want)
	}
	remove := func(want attributes, r types.ReturnValue) {
		t.Helper()
		out, err := s.api.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: s.table, Key: key("a"), ReturnValues: r})
		if err != nil {
			t.Fatal(err)
		}
		s.wantItem(out.Attributes, want)
	}
	put(nil, types.ReturnValueAllOld)
	put(item("a"), types.ReturnValueAllOld)
	put(nil, types.ReturnValueNone)
	put(nil, "")
	remove(item("a"), types.ReturnValueAllOld)
	remove(nil, types.ReturnValueAllOld)
	put(nil, types.ReturnValueAllOld)
	remove(nil, "")
	s.wantItem(s.get("a"), nil)
	for _, r := range []types.ReturnValue{types.ReturnValueAllNew, types.ReturnValueUpdatedNew, types.ReturnValueUpdatedOld, "EVERYTHING"} {
		_, err := s.api.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: s.table, Item: item("a"), ReturnValues: r})
		s.wantCode(err, invalid)
		_, err = s.api.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: s.table, Key: key("a"), ReturnValues: r})
		s.wantCode(err, invalid)
	}
}

// with returns an item with further attributes, of which nil ones are left out.
func with(i, changed attributes) attributes {
	i = maps.Clone(i)
	for name, v := range changed {
		i[name] = v
		if v == nil {
			delete(i, name)
		}
	}
	return i
}
