package dynamodb_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	local "tokenvendor/scripts/local/dynamodb"
)

// An item of 300 KB allows three writes a second, or failed conditions, and 40 reads, or twice
// as many that are not consistent. Another item is not affected.
func TestLimitsOfOneItem(t *testing.T) { synctest.Test(t, testLimits) } // where no time passes

func testLimits(t *testing.T) {
	value := base64.StdEncoding.EncodeToString(make([]byte, 300<<10))
	for _, limits := range []bool{false, true} {
		s := local.New(local.Config{Region: "eu-central-1", Account: "123456789012", Limits: limits})
		if err := s.AddTable("leases", "id", "end"); err != nil {
			t.Fatal(err)
		}
		throttled := func(n int, operation, body string) (throttled bool) {
			t.Helper()
			for range n {
				r := httptest.NewRequest(http.MethodPost, "http://localhost/", strings.NewReader(strings.ReplaceAll(body, "'", `"`)))
				r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=x")
				r.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
				w := httptest.NewRecorder()
				s.ServeHTTP(w, r)
				answer := w.Body.String()
				throttled = throttled || strings.Contains(answer, `"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"`)
				if w.Code != 200 && !throttled && !strings.Contains(answer, "ConditionalCheckFailed") {
					t.Fatal(answer)
				}
			}
			return throttled
		}
		put := func(key string) string {
			return fmt.Sprintf(`{'TableName':'leases','Item':{'id':{'S':'%s'},'value':{'B':'%s'}}}`, key, value)
		}
		const (
			update = `{'TableName':'leases','Key':{'id':{'S':'a'}},'UpdateExpression':'REMOVE #x','ConditionExpression':'attribute_exists(#x)','ExpressionAttributeNames':{'#x':'x'}}`
			get    = `{'TableName':'leases','Key':{'id':{'S':'a'}},'ConsistentRead':%v}`
		)
		if throttled(1, "PutItem", put("a")) || throttled(2, "UpdateItem", update) {
			t.Error("three writes are throttled")
		}
		if got := throttled(3, "UpdateItem", update); got != limits {
			t.Errorf("limits %v: failed conditions throttled: %v", limits, got)
		}
		if throttled(1, "PutItem", put("b")) {
			t.Error("another item is throttled")
		}
		if throttled(40, "GetItem", fmt.Sprintf(get, false)) {
			t.Error("an eventually consistent read costs more than half")
		}
		if got := throttled(60, "GetItem", fmt.Sprintf(get, true)); got != limits {
			t.Errorf("limits %v: reads throttled: %v", limits, got)
		}
		if got := s.Throttled() > 0; got != limits {
			t.Errorf("limits %v: throttled calls counted: %v", limits, got)
		}
		if s.Clear("leases"); len(s.Items("leases")) != 0 {
			t.Error("items are left")
		}
	}
}
