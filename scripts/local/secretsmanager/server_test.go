package secretsmanager_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	local "tokenvendor/scripts/local/secretsmanager"
)

func newServer() *local.Server {
	return local.New(local.Config{Region: "eu-central-1", Account: "123456789012"})
}

func TestWhoMayCall(t *testing.T) {
	s := newServer()
	for _, tt := range []struct {
		name, host, want string
		status           int
		change           map[string]string
	}{
		{"a program on this machine", "127.0.0.1:1", "", 200, nil},
		{"by name", "localhost:1", "", 200, nil},
		{"IPv6", "[::1]:1", "", 200, nil},
		{"port 80", "localhost", "", 200, nil},
		{"rebound name", "evil.test:1", "AccessDeniedException", 400, nil},
		{"name that begins like ours", "localhost.evil.test:1", "AccessDeniedException", 400, nil},
		{"other address", "192.0.2.1:1", "AccessDeniedException", 400, nil},
		{"web page", "127.0.0.1:1", "AccessDeniedException", 400, map[string]string{"Origin": "http://evil.test"}},
		{"web page from a file", "127.0.0.1:1", "AccessDeniedException", 400, map[string]string{"Origin": "null"}},
		{"unsigned", "127.0.0.1:1", "MissingAuthenticationTokenException", 403, map[string]string{"Authorization": ""}},
		{"password", "127.0.0.1:1", "MissingAuthenticationTokenException", 403, map[string]string{"Authorization": "Basic eDp4"}},
		{"unknown operation", "127.0.0.1:1", "UnknownOperationException", 400, map[string]string{"X-Amz-Target": "secretsmanager.Nothing"}},
		{"other service", "127.0.0.1:1", "UnknownOperationException", 400, map[string]string{"X-Amz-Target": "DynamoDB.ListSecrets"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := request("ListSecrets", "{}")
			r.Host = tt.host
			for k, v := range tt.change {
				r.Header.Set(k, v)
			}
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			var got answer
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Type != tt.want || w.Code != tt.status {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if w.Header().Get("Content-Type") != "application/x-amz-json-1.1" || w.Header().Get("X-Amzn-Requestid") == "" {
				t.Errorf("headers are %v", w.Header())
			}
		})
	}
	if n := s.Calls("ListSecrets"); n != 4 {
		t.Errorf("%d calls counted, want the 4 that were let in", n)
	}
}

func TestBodyTooLarge(t *testing.T) {
	d := newDirect(t)
	d.fails("InvalidParameterException", "CreateSecret", "{'Name':'a','SecretString':'"+strings.Repeat("x", 1<<20)+"'}")
	d.fails("ResourceNotFoundException", "DescribeSecret", "{'SecretId':'a'}")
}

// TestDates: epoch seconds with a fraction.
func TestDates(t *testing.T) {
	d := newDirect(t)
	d.now = time.Unix(1700000000, 250e6)
	d.ok("CreateSecret", "{'Name':'a','SecretString':'x'}")
	if got := d.ok("GetSecretValue", "{'SecretId':'a'}").CreatedDate; got != 1700000000.25 {
		t.Errorf("CreatedDate is %f", got)
	}
}

// TestHang: the call waits until its caller leaves; others don't wait with it.
func TestHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirect(t)
		d.ok("CreateSecret", "{'Name':'a','SecretString':'one'}")
		d.Hang("GetSecretValue", 1)
		ctx, leave := context.WithTimeout(t.Context(), time.Minute)
		defer leave()
		start, left := time.Now(), make(chan time.Duration)
		go func() {
			d.ServeHTTP(httptest.NewRecorder(), request("GetSecretValue", `{"SecretId":"a"}`).WithContext(ctx))
			left <- time.Since(start)
		}()
		synctest.Wait()
		if got := d.ok("GetSecretValue", "{'SecretId':'a'}").SecretString; got != "one" {
			t.Errorf("the next call got %q", got)
		}
		if got := <-left; got != time.Minute {
			t.Errorf("the call hung for %v", got)
		}
	})
}

func TestSeedCallsAndFail(t *testing.T) {
	server := newServer()
	ts := httptest.NewServer(server)
	defer ts.Close()
	api := secretsmanager.New(secretsmanager.Options{Region: "eu-central-1", BaseEndpoint: &ts.URL, RetryMaxAttempts: 1, Credentials: newSuite(t).api.Options().Credentials})
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
		t.Errorf("error is %v", err)
	}
	out, err := api.GetSecretValue(t.Context(), in)
	if err != nil || *out.SecretString != "two" || *out.VersionId != versions[1] || versions[0] == versions[1] {
		t.Errorf("%v, %v", out, err)
	}
	if n := server.Calls("GetSecretValue"); n != 2 {
		t.Errorf("%d calls, want 2", n)
	}
	if _, err := server.Seed("not a name", "x"); err == nil {
		t.Error("a bad name is taken")
	}
}

// FuzzRequest: whatever comes, the answer is JSON.
func FuzzRequest(f *testing.F) {
	f.Add("GetSecretValue", `{"SecretId":"a"}`)
	f.Add("ListSecrets", `{"NextToken":"-1"}`)
	f.Add("UpdateSecretVersionStage", `{"SecretId":"a","VersionStage":"AWSCURRENT","RemoveFromVersionId":"x"}`)
	f.Add("CreateSecret", `{"Name":"a","SecretBinary":"!"}`)
	f.Add("PutSecretValue", `{"SecretId":"a","SecretString":"x","VersionStages":["AWSCURRENT","AWSPREVIOUS"]}`)
	f.Add("BatchGetSecretValue", `{"Filters":[{"Key":"all","Values":["!"]}],"MaxResults":1}`)
	f.Add("DeleteSecret", `{"SecretId":"arn:aws:secretsmanager:eu-central-1:123456789012:secret:-aaaaaa"}`)
	f.Add("TagResource", `{"SecretId":"a","Tags":[null]}`)
	f.Fuzz(func(t *testing.T, operation, body string) {
		s := newServer()
		if _, err := s.Seed("a", "one"); err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, request(operation, body))
		if !json.Valid(w.Body.Bytes()) || w.Code != 200 && w.Code != 400 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
