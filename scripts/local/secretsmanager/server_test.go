package secretsmanager_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	local "tokenvendor/scripts/local/secretsmanager"
)

// direct calls a server without a network, with requests that the SDK does not make.
type direct struct {
	*testing.T
	*local.Server
}

func newServer() *local.Server {
	return local.New(local.Config{Region: "eu-central-1", Account: "123456789012"})
}

func newDirect(t *testing.T) direct { return direct{t, newServer()} }

// in returns d for a subtest.
func (d direct) in(t *testing.T) direct { return direct{t, d.Server} }

// answer has the members of answers that the tests read.
type answer struct {
	Type                      string `json:"__type"`
	Message                   string
	ARN, Name, SecretString   string
	CreatedDate, DeletionDate float64
	VersionStages             []string
	VersionIdsToStages        map[string][]string
	SecretList                []struct{ Name string }
}

func request(operation, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://localhost/", strings.NewReader(body))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=x/20261101/eu-central-1/secretsmanager/aws4_request, SignedHeaders=host, Signature=x")
	r.Header.Set("X-Amz-Target", "secretsmanager."+operation)
	return r
}

// call returns the answer to a body, in which ' stands for ".
func (d direct) call(operation, body string) answer {
	d.Helper()
	w := httptest.NewRecorder()
	d.ServeHTTP(w, request(operation, strings.ReplaceAll(body, "'", `"`)))
	var a answer
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		d.Fatalf("%s: got an answer that is not JSON: %v", operation, err)
	}
	if (w.Code == http.StatusOK) != (a.Type == "") {
		d.Errorf("%s: got status %d with error %q", operation, w.Code, a.Type)
	}
	return a
}

// ok is call without an error.
func (d direct) ok(operation, body string) answer {
	d.Helper()
	a := d.call(operation, body)
	if a.Type != "" {
		d.Fatalf("%s: %s: %s", operation, a.Type, a.Message)
	}
	return a
}

// fails is call with an error code.
func (d direct) fails(code, operation, body string) {
	d.Helper()
	if a := d.call(operation, body); a.Type != code {
		d.Errorf("%s %s: got error %q, want %s", operation, body, a.Type, code)
	}
}

func TestARNIsNotTheNameOfAnotherSecret(t *testing.T) {
	d := newDirect(t)
	plain := d.ok("CreateSecret", "{'Name':'billing','SecretString':'plain'}").ARN
	suffix := plain[len(plain)-7:]
	confusing := d.ok("CreateSecret", "{'Name':'billing"+suffix+"','SecretString':'confusing'}").ARN
	for id, want := range map[string]string{"billing": "plain", plain: "plain", "billing" + suffix: "confusing", confusing: "confusing"} {
		if got := d.ok("GetSecretValue", "{'SecretId':'"+id+"'}").SecretString; got != want {
			t.Errorf("%s: got %q, want %q", id, got, want)
		}
	}
}

func TestForeignARNsAreNotFound(t *testing.T) {
	d := newDirect(t)
	arn := d.ok("CreateSecret", "{'Name':'my-secret','SecretString':'x'}").ARN
	for name, id := range map[string]string{
		"other suffix":   arn[:len(arn)-6] + "aaaaaa",
		"other region":   strings.Replace(arn, "eu-central-1", "us-east-1", 1),
		"other account":  strings.Replace(arn, "123456789012", "210987654321", 1),
		"name in an ARN": arn + "/x",
		"short ARN":      arn[:len(arn)-len("my-secret-123456")] + "x",
		"prefix":         "my-secre",
		"case":           "My-Secret",
		// AWS takes -secret for a suffix and looks for "my" with that ARN.
		"partial ARN of a name that ends in six": strings.TrimSuffix(arn, arn[len(arn)-7:]),
	} {
		t.Run(name, func(t *testing.T) {
			d.in(t).fails("ResourceNotFoundException", "GetSecretValue", "{'SecretId':'"+id+"'}")
		})
	}
}

func TestCreateSecretChecksTheName(t *testing.T) {
	for name, want := range map[string]string{
		"a": "", "token-vendor/clients/billing": "", "A1/_+=.@-": "", strings.Repeat("a", 512): "",
		strings.Repeat("a", 513): "InvalidParameterException", "": "InvalidParameterException", "a b": "InvalidParameterException",
		"a:b": "InvalidParameterException", "ü": "InvalidParameterException", `a\nb`: "InvalidParameterException",
	} {
		if got := newDirect(t).call("CreateSecret", "{'Name':'"+name+"','SecretString':'x'}").Type; got != want {
			t.Errorf("%q: got error %q, want %q", name, got, want)
		}
	}
}

func TestUnsupportedCallsAreRefused(t *testing.T) {
	d := newDirect(t)
	for operation, want := range map[string]string{
		"TagResource": "the operation \"secretsmanager.TagResource\" is not supported", "PutSecretValue": "the parameter \"SecretBinary\" is not supported",
	} {
		if got := d.call(operation, "{'SecretId':'a','SecretBinary':'eA=='}"); got.Message != want {
			t.Errorf("%s: got %q, want %q", operation, got.Message, want)
		}
	}
	d.fails("InvalidParameterException", "ListSecrets", "{'Filters':[{'Key':'tag-key','Values':['x']}]}")
	d.fails("InvalidParameterException", "ListSecrets", "{'Filters':[{'Key':'name'}]}")
	d.ok("CreateSecret", "{'Name':'a'}")
	if got := d.ok("ListSecrets", "{}").SecretList; len(got) != 1 || got[0].Name != "a" {
		t.Errorf("ListSecrets without a filter: got %+v, want a", got)
	}
}

func TestBodyAboveTheLimitIsRefused(t *testing.T) {
	d := newDirect(t)
	d.fails("InvalidParameterException", "CreateSecret", "{'Name':'a','SecretString':'"+strings.Repeat("x", 1<<20)+"'}")
	d.fails("ResourceNotFoundException", "DescribeSecret", "{'SecretId':'a'}")
}

// A deleted secret keeps its name until it is restored.
func TestDeletedSecretRefusesOperations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirect(t)
		first := d.ok("CreateSecret", "{'Name':'a','SecretString':'one'}")
		deleted := d.ok("DeleteSecret", "{'SecretId':'a','RecoveryWindowInDays':7}")
		if want := float64(time.Now().AddDate(0, 0, 7).Unix()); deleted.DeletionDate != want {
			t.Errorf("got DeletionDate %f, want %f", deleted.DeletionDate, want)
		}
		for operation, body := range map[string]string{
			"GetSecretValue": "", "PutSecretValue": ",'SecretString':'x'", "UpdateSecret": ",'SecretString':'x'", "DeleteSecret": "",
			"UpdateSecretVersionStage": ",'VersionStage':'x','MoveToVersionId':'x'",
		} {
			d.fails("InvalidRequestException", operation, "{'SecretId':'a'"+body+"}")
		}
		d.fails("InvalidRequestException", "CreateSecret", "{'Name':'a','SecretString':'one'}")
		d.ok("RestoreSecret", "{'SecretId':'a'}")
		d.ok("GetSecretValue", "{'SecretId':'a'}")
		d.ok("DeleteSecret", "{'SecretId':'a','ForceDeleteWithoutRecovery':true}")
		d.fails("ResourceNotFoundException", "RestoreSecret", "{'SecretId':'a'}")
		if second := d.ok("CreateSecret", "{'Name':'a','SecretString':'one'}"); second.ARN == first.ARN {
			t.Errorf("got the ARN %s of the deleted secret, want another one", second.ARN)
		}
	})
}

func TestForcedDeletionCanBeRepeated(t *testing.T) {
	d := newDirect(t)
	d.ok("CreateSecret", "{'Name':'a','SecretString':'one'}")
	d.ok("DeleteSecret", "{'SecretId':'a'}")
	for range 2 {
		if got := d.ok("DeleteSecret", "{'SecretId':'a','ForceDeleteWithoutRecovery':true}"); got.Name != "a" || got.DeletionDate == 0 {
			t.Errorf("got %+v, want the name and the date", got)
		}
		d.fails("ResourceNotFoundException", "DescribeSecret", "{'SecretId':'a'}")
	}
	d.fails("ResourceNotFoundException", "DeleteSecret", "{'SecretId':'a'}")
	d.fails("InvalidParameterException", "DeleteSecret", "{'ForceDeleteWithoutRecovery':true}")
	d.fails("InvalidParameterException", "DeleteSecret", "{'SecretId':'a','RecoveryWindowInDays':31}")
}

func TestSeedReplacesTheValue(t *testing.T) {
	server := newServer()
	ts := httptest.NewServer(server)
	defer ts.Close()
	api := newClient(ts.URL)
	var versions []string
	for _, text := range []string{"one", "two"} {
		version, err := server.Seed("a", text)
		if err != nil {
			t.Fatal(err)
		}
		versions = append(versions, version)
	}
	server.Fail("GetSecretValue", 1, "ThrottlingException")
	in := &secretsmanager.GetSecretValueInput{SecretId: aws.String("a")}
	if _, err := api.GetSecretValue(t.Context(), in); err == nil || !strings.Contains(err.Error(), "ThrottlingException") {
		t.Errorf("got error %v, want ThrottlingException", err)
	}
	out, err := api.GetSecretValue(t.Context(), in)
	if err != nil || *out.SecretString != "two" || *out.VersionId != versions[1] || versions[0] == versions[1] {
		t.Errorf("got %v, %v, want two with the version %s", out, err, versions[1])
	}
	if n := server.Calls("GetSecretValue"); n != 2 {
		t.Errorf("got %d calls, want 2", n)
	}
	if _, err := server.Seed("a b", "x"); err == nil {
		t.Error("an invalid name: got no error")
	}
}

// FuzzRequest proves that every request is answered with JSON.
func FuzzRequest(f *testing.F) {
	f.Add("GetSecretValue", `{"SecretId":"a"}`)
	f.Add("ListSecrets", `{"Filters":[{"Key":"name","Values":["a"]}]}`)
	f.Add("UpdateSecretVersionStage", `{"SecretId":"a","VersionStage":"AWSCURRENT","RemoveFromVersionId":"x"}`)
	f.Add("CreateSecret", `{"Name":"a","SecretString":null,"Tags":[null]}`)
	f.Add("PutSecretValue", `{"SecretId":"a","SecretString":"x","VersionStages":["AWSCURRENT","AWSPREVIOUS"]}`)
	f.Add("UpdateSecret", `{"SecretId":"a","KmsKeyId":""}`)
	f.Add("DeleteSecret", `{"SecretId":"arn:aws:secretsmanager:eu-central-1:123456789012:secret:-aaaaaa"}`)
	f.Fuzz(func(t *testing.T, operation, body string) {
		s := newServer()
		if _, err := s.Seed("a", "one"); err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, request(operation, body))
		if !json.Valid(w.Body.Bytes()) || w.Code != 200 && w.Code != 400 {
			t.Errorf("got %d %s, want JSON with status 200 or 400", w.Code, w.Body)
		}
	})
}
