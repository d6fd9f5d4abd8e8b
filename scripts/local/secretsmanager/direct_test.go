package secretsmanager_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	local "tokenvendor/scripts/local/secretsmanager"
)

// direct calls one server without a network, for what only our own can be asked:
// its clock, its races, requests that no SDK makes.
type direct struct {
	*testing.T
	*local.Server
	now time.Time // of the server
}

func newDirect(t *testing.T) *direct {
	d := &direct{T: t, now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}
	d.Server = local.New(local.Config{Region: "eu-central-1", Account: "123456789012", Now: func() time.Time { return d.now }})
	return d
}

// answer is the part of all answers that these tests look at.
type answer struct {
	Type                      string `json:"__type"`
	ARN, Name, SecretString   string
	VersionID                 string `json:"VersionId"`
	NextToken                 string
	CreatedDate, DeletionDate float64
	VersionStages             []string
	VersionIdsToStages        map[string][]string
	SecretList, SecretValues  []struct{ Name, SecretString string }
	Tags                      []struct{ Key, Value string }
	Message                   string
}

// in is d for a subtest.
func (d *direct) in(t *testing.T) *direct { return &direct{T: t, Server: d.Server, now: d.now} }

func request(operation, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://localhost/", strings.NewReader(body))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=x/20261101/eu-central-1/secretsmanager/aws4_request, SignedHeaders=host, Signature=x")
	r.Header.Set("X-Amz-Target", "secretsmanager."+operation)
	return r
}

// call returns the answer to body, in which ' stands for ".
func (d *direct) call(operation, body string) answer {
	d.Helper()
	w := httptest.NewRecorder()
	d.ServeHTTP(w, request(operation, strings.ReplaceAll(body, "'", `"`)))
	var a answer
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		d.Fatalf("%s: the answer is not JSON: %v", operation, err)
	}
	if (w.Code == http.StatusOK) != (a.Type == "") {
		d.Errorf("%s: status %d with error %q", operation, w.Code, a.Type)
	}
	return a
}

// ok is call where no error may come.
func (d *direct) ok(operation, body string) answer {
	d.Helper()
	a := d.call(operation, body)
	if a.Type != "" {
		d.Fatalf("%s: %s: %s", operation, a.Type, a.Message)
	}
	return a
}

// fails wants an error of that code.
func (d *direct) fails(code, operation, body string) {
	d.Helper()
	if a := d.call(operation, body); a.Type != code {
		d.Errorf("%s %s: error is %q, want %s", operation, body, a.Type, code)
	}
}
