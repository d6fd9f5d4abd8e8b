package dynamodb_test

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

func TestUpdates(t *testing.T) {
	s := newSuite(t)
	for _, tt := range []struct {
		expression string
		want       attributes // changed; nil: gone
		moto       string
	}{
		{"SET n = :six", attributes{"n": number("6")}, ""},
		{"set n = :six", attributes{"n": number("6")}, ""},
		{"SET #status = :me, n = :six", attributes{"n": number("6"), "status": text("me")}, ""},
		{"SET n = n + :one", attributes{"n": number("6")}, ""},
		{"SET n = n - :six", attributes{"n": number("-1")}, ""},
		{"SET n = :one + :two", attributes{"n": number("3")}, ""},
		{"SET n = n+n", attributes{"n": number("10")}, ""},
		{"SET big = big + :one", attributes{"big": number("12345678901234567890123456789012345679")}, ""},
		{"SET fresh = n - :fiveToo", attributes{"fresh": number("0")}, "keeps numbers as they were written"},
		{"SET fresh = #owner", attributes{"fresh": text("me")}, ""},
		{"SET #owner = #status, #status = #owner", attributes{"owner": text("a reserved word"), "status": text("me")}, ""},
		{"SET fresh = if_not_exists(fresh, :one)", attributes{"fresh": number("1")}, ""},
		{"SET n = if_not_exists(n, :one)", attributes{}, ""},
		{"SET fresh = if_not_exists(fresh, n)", attributes{"fresh": number("5")}, ""},
		{"SET fresh = if_not_exists(fresh, :one) + :two", attributes{"fresh": number("3")}, ""},
		{"SET fresh = if_not_exists(absent, if_not_exists(n, :one))", attributes{"fresh": number("5")}, "has one if_not_exists, not one in another"},
		{"REMOVE n", attributes{"n": nil}, ""},
		{"REMOVE n, #owner, absent", attributes{"n": nil, "owner": nil}, ""},
		{"ADD n :six", attributes{"n": number("11")}, ""},
		{"ADD fresh :six", attributes{"fresh": number("6")}, ""},
		{"ADD fresh :six, n :one", attributes{"fresh": number("6"), "n": number("6")}, ""},
		{"SET #status = :me REMOVE #owner ADD n :one", attributes{"status": text("me"), "owner": nil, "n": number("6")}, ""},
		{"ADD n :one SET #status = :me", attributes{"status": text("me"), "n": number("6")}, ""},
		{"SET fresh = n REMOVE n", attributes{"n": nil, "fresh": number("5")}, ""},
		{"SET fresh = :words", attributes{"fresh": &types.AttributeValueMemberSS{Value: []string{"b", "a"}}}, ""},
	} {
		t.Run(tt.expression, func(t *testing.T) {
			s := s.in(t)
			if tt.moto != "" && s.differs(tt.moto) {
				return
			}
			s.put(item("a"))
			out, err := s.api.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{TableName: s.table, Key: key("a"), UpdateExpression: &tt.expression, ReturnValues: types.ReturnValueAllNew,
				ExpressionAttributeNames: only(names(), tt.expression), ExpressionAttributeValues: only(values(), tt.expression)})
			if err != nil {
				t.Fatal(err)
			}
			s.wantItem(out.Attributes, with(item("a"), tt.want))
			s.wantItem(s.get("a"), with(item("a"), tt.want))
		})
	}
}

func TestUpdatesRefused(t *testing.T) {
	s := newSuite(t)
	s.put(item("a"))
	for expression, moto := range map[string]string{
		"":                                "",
		"n = :five":                       "",
		"SET":                             "",
		"SET n":                           "",
		"SET n :five":                     "",
		"SET n = ":                        "",
		"SET n = :five,":                  "",
		"SET n = :five SET fresh = :five": "",
		"SET n = :five, n = :six":         "",
		"SET n = :five REMOVE n":          "",
		"SET id = :me":                    "",
		"REMOVE id":                       "",
		"ADD id :one":                     "",
		"SET n = absent":                  "",
		"SET n = absent + :one":           "",
		"SET n = #owner + :one":           "",
		"SET n = n + :me":                 "",
		"SET n = n + :one + :one":         "adds three numbers",
		"SET n = n * :one":                "",
		"SET n = big + :tenth":            "keeps more than 38 digits",
		"SET n = size(#owner)":            "",
		"SET n = unknown(n)":              "",
		"SET n = if_not_exists(:me, n)":   "",
		"SET n = if_not_exists(n)":        "",
		"SET status = :me":                "",
		"SET #undefined = :me":            "fails to answer",
		"SET n = :undefined":              "",
		"SET n = begins_with(n, :me)":     "",
		"REMOVE n = :five":                "",
		"ADD n :me":                       "",
		"ADD #owner :one":                 "",
		"ADD n = :one":                    "",
		"ADD n n":                         "",
		"SET #tree.k = :me":               "has paths into lists and maps",
		"ADD #words :words":               "adds to sets",
		"DELETE #words :words":            "takes from sets",
		"SET n = list_append(n, :list)":   "",
	} {
		t.Run(expression, func(t *testing.T) {
			s := s.in(t)
			if moto != "" && s.differs(moto) {
				return
			}
			_, err := s.api.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{TableName: s.table, Key: key("a"), UpdateExpression: &expression,
				ExpressionAttributeNames: only(names(), expression), ExpressionAttributeValues: only(values(), expression)})
			s.wantCode(err, invalid)
		})
	}
	if s.ours {
		s.wantItem(s.get("a"), item("a"))
	}
}

// TestUpdateWhatIsNotThere: an update makes the item, unless it only removes.
func TestUpdateWhatIsNotThere(t *testing.T) {
	s := newSuite(t)
	for _, tt := range []struct {
		id, expression string
		want           attributes
	}{
		{"a", "SET n = :five", attributes{"id": text("a"), "n": number("5")}},
		{"b", "ADD n :five", attributes{"id": text("b"), "n": number("5")}},
		{"c", "SET n = if_not_exists(n, :five)", attributes{"id": text("c"), "n": number("5")}},
		{"d", "", key("d")},
		{"e", "REMOVE n", nil},
	} {
		if tt.want == nil && s.differs("makes an item by removing an attribute") || tt.expression == "" && s.differs("fails to answer to an update that changes nothing") {
			continue
		}
		in := &dynamodb.UpdateItemInput{TableName: s.table, Key: key(tt.id), ExpressionAttributeValues: only(values(), tt.expression)}
		if tt.expression != "" {
			in.UpdateExpression = &tt.expression
		}
		if _, err := s.api.UpdateItem(t.Context(), in); err != nil {
			t.Errorf("%s: %v", tt.expression, err)
		}
		s.wantItem(s.get(tt.id), tt.want)
	}
	for name, in := range map[string]*dynamodb.UpdateItemInput{
		failed:  {ConditionExpression: aws.String("attribute_exists(id)")},
		invalid: {UpdateExpression: aws.String("SET n = n + :one"), ExpressionAttributeValues: only(values(), ":one")},
	} {
		in.TableName, in.Key = s.table, key("f")
		_, err := s.api.UpdateItem(t.Context(), in)
		s.wantCode(err, name)
	}
	if !s.differs("leaves an item behind where an update failed") {
		s.wantItem(s.get("f"), nil)
	}
}

func TestUpdateReturnValues(t *testing.T) {
	s := newSuite(t)
	const expression = "SET n = :six, fresh = :me REMOVE #owner, absent"
	changed := attributes{"n": number("6"), "fresh": text("me"), "owner": nil}
	for _, tt := range []struct {
		r    types.ReturnValue
		want attributes
		moto string
	}{
		{"", nil, ""},
		{types.ReturnValueNone, nil, ""},
		{types.ReturnValueAllOld, item("a"), ""},
		{types.ReturnValueAllNew, with(item("a"), changed), ""},
		{types.ReturnValueUpdatedOld, attributes{"n": number("5"), "owner": text("me")}, ""},
		{types.ReturnValueUpdatedNew, attributes{"n": number("6"), "fresh": text("me")}, ""},
	} {
		s.put(item("a"))
		out, err := s.api.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{TableName: s.table, Key: key("a"), UpdateExpression: aws.String(expression), ReturnValues: tt.r,
			ExpressionAttributeNames: only(names(), expression), ExpressionAttributeValues: only(values(), expression)})
		if err != nil {
			t.Fatalf("%s: %v", tt.r, err)
		}
		s.wantItem(out.Attributes, tt.want)
	}
	out, err := s.api.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{TableName: s.table, Key: key("b"), UpdateExpression: aws.String("SET n = :six"), ReturnValues: types.ReturnValueAllOld, ExpressionAttributeValues: only(values(), ":six")})
	if err != nil {
		t.Fatal(err)
	}
	s.wantItem(out.Attributes, nil)
}

// TestUpdateTooLarge: an item can't grow past 400 KB.
func TestUpdateTooLarge(t *testing.T) {
	s := newSuite(t)
	half := text(strings.Repeat("x", 200<<10))
	s.put(attributes{"id": text("a"), "v": half})
	_, err := s.api.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{TableName: s.table, Key: key("a"), UpdateExpression: aws.String("SET w = :w"), ExpressionAttributeValues: attributes{":w": half}})
	s.wantCode(err, invalid)
}

// TestLease plays what the conditions are for: of many who want it one gets it,
// and who holds it is told to the others.
func TestLease(t *testing.T) {
	s := newSuite(t)
	take := func(owner string, now int) error {
		_, err := s.api.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
			TableName: s.table, Key: key("lease"),
			UpdateExpression:          aws.String("SET #o = :me, ends = :ends ADD epoch :one"),
			ConditionExpression:       aws.String("attribute_not_exists(id) OR ends <= :now OR #o = :me"),
			ExpressionAttributeNames:  map[string]string{"#o": "owner"},
			ExpressionAttributeValues: attributes{":me": text(owner), ":now": number(strconv.Itoa(now)), ":ends": number(strconv.Itoa(now + 60)), ":one": number("1")},
		})
		return err
	}
	var won atomic.Int32
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			if take("owner"+strconv.Itoa(n), 1000) == nil {
				won.Add(1)
			}
		})
	}
	all.Wait()
	if n := won.Load(); n != 1 {
		t.Errorf("%d took the lease", n)
	}
	s.wantCode(take("late", 1059), failed)
	s.wantCode(take("next", 1060), "")
	s.wantCode(take("next", 1061), "")
	if got := s.get("lease")["epoch"].(*types.AttributeValueMemberN).Value; got != "3" {
		t.Errorf("epoch is %s, want 3", got)
	}
}

func TestScan(t *testing.T) {
	s := newSuite(t)
	const all = 25
	for n := range all {
		s.put(attributes{"id": text("k" + strconv.Itoa(n)), "n": number(strconv.Itoa(n)), "v": text("x")})
	}
	seen := make(map[string]bool)
	pages := 0
	in := &dynamodb.ScanInput{TableName: s.table, Limit: aws.Int32(10), ProjectionExpression: aws.String("id")}
	for pager := dynamodb.NewScanPaginator(s.api, in); pager.HasMorePages(); pages++ {
		out, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Items) > 10 || int(out.Count) != len(out.Items) {
			t.Errorf("%d items, count %d", len(out.Items), out.Count)
		}
		for _, i := range out.Items {
			if len(i) != 1 {
				t.Errorf("item is %v", plain(i))
			}
			seen[i["id"].(*types.AttributeValueMemberS).Value] = true
		}
	}
	if len(seen) != all || pages != 3 {
		t.Errorf("%d items on %d pages", len(seen), pages)
	}
	out, err := s.api.Scan(t.Context(), &dynamodb.ScanInput{TableName: s.table, FilterExpression: aws.String("n >= :n"), ExpressionAttributeValues: attributes{":n": number("20")}})
	if err != nil || out.Count != 5 || out.ScannedCount != all {
		t.Errorf("%+v, %v", out, err)
	}
	out, err = s.api.Scan(t.Context(), &dynamodb.ScanInput{TableName: s.table, Select: types.SelectCount})
	if err != nil || out.Count != all || len(out.Items) != 0 && !s.differs("sends the items that it was asked to count") {
		t.Errorf("%+v, %v", out, err)
	}
	if !s.differs("takes a Limit of 0, and keys of a Scan that are none") {
		_, err = s.api.Scan(t.Context(), &dynamodb.ScanInput{TableName: s.table, Limit: aws.Int32(0)})
		s.wantCode(err, invalid)
		_, err = s.api.Scan(t.Context(), &dynamodb.ScanInput{TableName: s.table, ExclusiveStartKey: attributes{"n": number("1")}})
		s.wantCode(err, invalid)
	}
	_, err = s.api.Scan(t.Context(), &dynamodb.ScanInput{TableName: aws.String("absent")})
	s.wantCode(err, missing)
}
