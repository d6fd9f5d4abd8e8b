package token

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/fault"
)

// kindOf returns the kind of an error of this package.
func kindOf(t testing.TB, err error) fault.Kind {
	t.Helper()
	var e *fault.Error
	if !errors.As(err, &e) {
		t.Fatalf("the error is a %T", err)
	}
	return e.Kind
}

// parseForm parses the form of a request for a client, whose name may be empty.
func parseForm(client string, body []byte) (Request, error) {
	r := Request{Client: client}
	err := r.ParseForm(body)
	if err != nil && !reflect.DeepEqual(r, Request{Client: client}) {
		panic("a refused body changed the request")
	}
	return r, err
}

// parseJSON is parseForm for JSON.
func parseJSON(client string, body []byte) (Request, error) {
	r := Request{Client: client}
	err := r.ParseJSON(body)
	if err != nil && !reflect.DeepEqual(r, Request{Client: client}) {
		panic("a refused body changed the request")
	}
	return r, err
}

// noKind stands for success in tables.
const noKind fault.Kind = -1

// TestParse reads the same request as a form and as JSON.
func TestParse(t *testing.T) {
	fingerprint := strings.Repeat("0a", 32)
	for _, test := range []struct {
		name, form, json string
		want             Request
	}{
		{"nothing", "", "{}", Request{}},
		{"empty values", "scope=&audience=&resource=&token_format=&app_tid=&rejected=&x=&grant_type=&client_id=",
			`{"scope":"","audience":"","resource":"","token_format":"","app_tid":"","rejected":"","x":"","grant_type":"","client_id":""}`, Request{}},
		{"no values", "scope&audience&&", `{"resource":[]}`, Request{}},
		{"grant", "grant_type=client_credentials&client_id=billing", `{"grant_type":"client_credentials","client_id":"billing"}`, Request{}},
		{"scope", "scope=write+read%20admin+read", `{"scope":"write read admin read"}`, Request{Ask: ask.Ask{Scope: []string{"admin", "read", "write"}}}},
		{"resource", "resource=urn:b&resource=urn%3Aa&resource=urn:b", `{"resource":["urn:b","urn:a","urn:b"]}`, Request{Ask: ask.Ask{Resource: []string{"urn:a", "urn:b"}}}},
		{"one resource", "resource=https://a/b?c", `{"resource":"https://a/b?c"}`, Request{Ask: ask.Ask{Resource: []string{"https://a/b?c"}}}},
		{"audience", "audience=a+b%26c%3Dd", `{"audience":"a b&c=d"}`, Request{Ask: ask.Ask{Audience: "a b&c=d"}}},
		{"format", "token_format=opaque&app_tid=a-B_9", `{"token_format":"opaque","app_tid":"a-B_9"}`, Request{Ask: ask.Ask{TokenFormat: "opaque", AppTID: "a-B_9"}}},
		{"life", "min_ttl=86400", `{"min_ttl":86400}`, Request{MinTTL: 24 * time.Hour}},
		{"no life", "min_ttl=0", `{"min_ttl":0}`, Request{}},
		{"rejected", "rejected=" + strings.ToUpper(fingerprint), `{"rejected":"` + fingerprint + `"}`, Request{Rejected: fingerprint}},
		{"others", "x.Y-z_1=a&y=b=c", `{"x.Y-z_1":"a","y":"b=c"}`, Request{Ask: ask.Ask{Parameters: map[string]string{"x.Y-z_1": "a", "y": "b=c"}}}},
		{"unicode", "x=%C3%BC%e2%82%ac", `{"x":"ü\u20ac"}`, Request{Ask: ask.Ask{Parameters: map[string]string{"x": "ü€"}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.want.Client = "billing"
			form, err := parseForm("billing", []byte(test.form))
			if err != nil || !reflect.DeepEqual(form, test.want) {
				t.Errorf("the form became %+v, %v", form, err)
			}
			json, err := parseJSON("billing", []byte(test.json))
			if err != nil || !reflect.DeepEqual(json, test.want) {
				t.Errorf("the JSON became %+v, %v", json, err)
			}
		})
	}
}

// TestParseRefuses: The error names the field and never the value.
func TestParseRefuses(t *testing.T) {
	const canary = "cnry"
	for _, test := range []struct {
		form, json string
		want       fault.Kind
		says       string
	}{
		{form: "scope=a&scope=b", json: `{"scope":"a","scope":"b"}`, want: fault.Malformed, says: "scope is given twice"},
		{form: "CNRY=a&CNRY=b", json: `{"CNRY":"a","CNRY":"b"}`, want: fault.Malformed, says: "a member is given twice"},
		{form: "client_id=cnry", json: `{"client_id":"cnry"}`, want: fault.Malformed, says: "client_id differs"},
		{form: "client=cnry", json: `{"client":"cnry"}`, want: fault.Malformed, says: "client differs"},
		{form: "grant_type=password", json: `{"grant_type":"cnry"}`, want: fault.UnsupportedGrant, says: "grant_type"},
		{form: "scope=+cnry", json: `{"scope":"cnry\""}`, want: fault.InvalidScope, says: "scope"},
		{form: "scope=a%00", json: `{"scope":"cnry\u007f"}`, want: fault.InvalidScope, says: "scope"},
		{form: "resource=cnry%0a", json: `{"resource":["urn:a","cnry\u0000"]}`, want: fault.InvalidTarget, says: "resource"},
		{form: "resource=" + strings.Repeat(canary, 1025), json: `{"resource":["urn:a",""]}`, want: fault.InvalidTarget, says: "resource"},
		{form: "audience=%0a", json: `{"audience":"cnry\n"}`, want: fault.Malformed, says: "audience"},
		{form: "client_secret=cnry", json: `{"client_secret":"cnry"}`, want: fault.Malformed, says: "client_secret must not be sent"},
		{form: "min_ttl=cnry", json: `{"min_ttl":"cnry"}`, want: fault.Malformed, says: "min_ttl"},
		{form: "min_ttl=1e2", json: `{"min_ttl":1e2}`, want: fault.Malformed, says: "min_ttl"},
		{form: "min_ttl=+5", json: `{"min_ttl":86401}`, want: fault.Malformed, says: "min_ttl"},
		{form: "rejected=cnry", json: `{"rejected":"cnry"}`, want: fault.Malformed, says: "rejected"},
		{form: "x=" + strings.Repeat(canary, 1025), json: `{"x":"` + strings.Repeat(canary, 1025) + `"}`, want: fault.Malformed, says: "x holds"},
		{form: "%zz=cnry", json: `{"x":"cnry"`, want: fault.Malformed, says: "the body is not a"},
		{form: `{"cnry":"cnry"}`, json: `cnry=cnry`, want: fault.Malformed, says: ": send Content-Type: application/"},
		{form: ` {"scope":"cnry=a&b"}`, json: `scope=cnry&audience=a`, want: fault.Malformed, says: ": send Content-Type: application/"},
		{form: "audience=a;x=cnry", json: `{"audience":"a"};`, want: fault.Malformed, says: "the body is not a"},
		{form: strings.Repeat("a", 65) + "=", json: `{"` + strings.Repeat("a", 65) + `":""}`, want: fault.Malformed, says: "name is not valid"},
	} {
		_, formErr := parseForm("billing", []byte(test.form))
		_, jsonErr := parseJSON("billing", []byte(test.json))
		for input, err := range map[string]error{test.form: formErr, test.json: jsonErr} {
			if err == nil {
				t.Errorf("%.60q was accepted", input)
				continue
			}
			if kindOf(t, err) != test.want || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%.60q: %v, want kind %d and %q", input, err, test.want, test.says)
			}
			if strings.Contains(strings.ToLower(err.Error()), canary) {
				t.Errorf("%.60q: the error repeats the value", input)
			}
		}
	}
}

func TestParametersThatNoDocumentAllows(t *testing.T) {
	for _, name := range []string{
		"client_secret", "client_assertion", "client_assertion_type", "assertion", "username", "password", "code", "code_verifier",
		"refresh_token", "redirect_uri", "subject_token", "subject_token_type", "actor_token", "actor_token_type",
		"token_endpoint", "token_url", "issuer", "url", "jwks_uri", "stage", "version_id", "secret_id", "kms_key_id", "caller", "subject",
	} {
		if _, err := parseForm("billing", []byte(name+"=x")); err == nil || kindOf(t, err) != fault.Malformed {
			t.Errorf("%s was accepted", name)
		}
		if _, err := parseForm("billing", []byte(name+"=")); err != nil {
			t.Errorf("%s without a value counts as left out: %v", name, err)
		}
	}
}

func TestDirectRequestNamesTheClient(t *testing.T) {
	for body, want := range map[string]fault.Kind{
		`{"client":"billing"}`: noKind, `{"client_id":"billing"}`: noKind, `{"client":"billing","client_id":"billing"}`: noKind,
		`{}`: fault.Malformed, `{"client":""}`: fault.Malformed, `{"client":"Billing"}`: fault.Malformed, `{"client":"a/b"}`: fault.Malformed,
		`{"name":"billing"}`: fault.Malformed, `{"client":"billing","client_id":"payroll"}`: fault.Malformed, `{"client":"payroll","client_id":"billing"}`: fault.Malformed,
	} {
		r, err := parseJSON("", []byte(body))
		if want == noKind && (err != nil || r.Client != "billing") || want != noKind && (err == nil || kindOf(t, err) != want) {
			t.Errorf("%s: %q, %v", body, r.Client, err)
		}
	}
}

// TestMembersThatAreNoParameters: A mistyped name is not reported as a value of the wrong type.
func TestMembersThatAreNoParameters(t *testing.T) {
	const another = " is not a parameter; one that the client's document allows must be a string"
	for _, test := range []struct{ client, body, want string }{
		{"billing", `{"foo":1}`, "foo" + another},
		{"billing", `{"foo":null,"bar2":{}}`, "bar2" + another},
		{"billing", `{"cNry7secret":1}`, "a member" + another},
		{"billing", `{"client_secret":1}`, "client_secret must not be sent"},
		{"billing", `{"scope":1}`, "scope must be a string"},
		{"billing", `{"client_id":1}`, "client_id must be a string"},
		{"", `{}`, "client is missing"},
		{"", `{"client":""}`, "client is missing"},
		{"", `{"name":"billing"}`, "client is missing, and name is not a parameter"},
		{"", `{"foo":1,"scope":"a"}`, "client is missing, and foo is not a parameter"},
		{"", `{"scope":"a","resource":"urn:a"}`, "client is missing"},
		{"", `{"cNry7secret":"x"}`, "client is missing, and a member is not a parameter"},
		{"", `{"client":"Billing"}`, "client is not a valid client name"},
	} {
		if _, err := parseJSON(test.client, []byte(test.body)); err == nil || err.Error() != "invalid_request: "+test.want {
			t.Errorf("%s: got %v, want %q", test.body, err, test.want)
		}
	}
}

func TestSameProblemIsReportedFirst(t *testing.T) {
	form, json := make(map[string]bool), make(map[string]bool)
	for range 50 {
		_, err := parseForm("billing", []byte("token_format=x&app_tid=../&min_ttl=x&rejected=x&client_secret=x&audience=%00&grant_type=x"))
		_, jsonErr := parseJSON("billing", []byte(`{"token_format":1,"app_tid":1,"min_ttl":"x","rejected":1,"client_secret":1,"audience":1,"grant_type":1}`))
		if err == nil || jsonErr == nil {
			t.Fatal("accepted")
		}
		form[err.Error()], json[jsonErr.Error()] = true, true
	}
	if len(form) != 1 || len(json) != 1 {
		t.Errorf("%d different errors for one form, %d for one object", len(form), len(json))
	}
}

// formOf writes r as a form, so that parsing it gives r again.
func formOf(r Request) string {
	v := url.Values{"client_id": {r.Client}, "resource": r.Resource}
	for name, value := range singles(r) {
		v.Set(name, value)
	}
	return v.Encode()
}

// singles is every parameter of r but the client and resource.
func singles(r Request) map[string]string {
	all := map[string]string{
		"scope": strings.Join(r.Scope, " "), "audience": r.Audience, "token_format": r.TokenFormat, "app_tid": r.AppTID, "rejected": r.Rejected,
	}
	maps.Copy(all, r.Parameters)
	maps.DeleteFunc(all, func(_, value string) bool { return value == "" })
	if r.MinTTL != 0 {
		all["min_ttl"] = fmt.Sprint(int64(r.MinTTL / time.Second))
	}
	return all
}

// checkParsed holds an accepted request to what every one must be.
func checkParsed(t *testing.T, r Request) {
	t.Helper()
	if !slices.IsSorted(r.Scope) || !slices.IsSorted(r.Resource) ||
		len(slices.Compact(slices.Clone(r.Scope))) != len(r.Scope) || len(slices.Compact(slices.Clone(r.Resource))) != len(r.Resource) {
		t.Errorf("scope or resource is not a sorted set: %q %q", r.Scope, r.Resource)
	}
	for name, value := range r.Parameters {
		if forbidden(name) || value == "" || strings.ContainsAny(value, "\r\n\x00") {
			t.Errorf("parameter %q got through", name)
		}
	}
	again, err := parseForm(r.Client, []byte(formOf(r)))
	if err != nil || !reflect.DeepEqual(again, r) {
		t.Errorf("%+v, written and read again, is %+v, %v", r, again, err)
	}
}

// checkRefused holds an error to what every one must be.
func checkRefused(t *testing.T, err error) {
	t.Helper()
	e := fault.From(err)
	switch kindOf(t, err) {
	case fault.Malformed, fault.UnsupportedGrant, fault.InvalidScope, fault.InvalidTarget:
	default:
		t.Errorf("kind %d for a body", e.Kind)
	}
	if len(e.Description) > 200 || strings.ContainsFunc(e.Description, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		t.Errorf("the description %q holds what RFC 6749 doesn't allow", e.Description)
	}
}

// FuzzParseForm: An accepted body means what a server would read in it.
func FuzzParseForm(f *testing.F) {
	for _, body := range []string{
		"", "a=b", "scope=a+b&scope=c", "resource=urn:a&resource=urn:b", "resource=&resource=urn:a", "=x", "%zz", "a;b=c", "client_id=billing&grant_type=client_credentials",
		"scope=%ff", "min_ttl=60&rejected=" + strings.Repeat("A0", 32), "x=%E2%82%AC&y=%26z%3D1", strings.Repeat("a&", 100),
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := parseForm("billing", body)
		if err != nil {
			checkRefused(t, err)
			return
		}
		checkParsed(t, r)
		intended, err := url.ParseQuery(string(body))
		if err != nil {
			t.Fatalf("accepted, though it is no form: %v", err)
		}
		checkIntended(t, r, intended)
	})
}

// checkIntended compares a request with what a server would read in its form.
func checkIntended(t *testing.T, r Request, intended url.Values) {
	t.Helper()
	got := singles(r)
	for name, values := range intended {
		switch name {
		case "grant_type", "client", "client_id", "min_ttl":
		case "resource":
			for _, value := range values {
				if value != "" && !slices.Contains(r.Resource, value) {
					t.Errorf("resource %q got lost", value)
				}
			}
		default:
			checkSingle(t, name, values, got)
		}
	}
	for name := range got {
		if intended.Get(name) == "" {
			t.Errorf("%q comes from nowhere", name)
		}
	}
	if len(r.Resource) > len(intended["resource"]) {
		t.Error("a resource comes from nowhere")
	}
}

func checkSingle(t *testing.T, name string, values []string, got map[string]string) {
	t.Helper()
	want := values[0]
	switch name {
	case "scope":
		want = strings.Join(sortedSet(strings.Fields(want)), " ")
	case "rejected":
		want = strings.ToLower(want)
	}
	if len(values) > 1 || want != got[name] {
		t.Errorf("%q is %q, want %q", name, got[name], values)
	}
}

// FuzzParseJSON: An accepted JSON body is the same request as a form.
func FuzzParseJSON(f *testing.F) {
	for _, body := range []string{
		"{}", "null", `{"scope":"a b"}`, `{"resource":["urn:a","urn:b"]}`, `{"scope":"a","scope":"b"}`, `{"min_ttl":60}`, `{"\u0073cope":"a"}`,
		`{"client":"billing","x":"\u20ac"}`, `{"a":{"b":[]}}`, `{"scope":"\ud800"}`, `{} {}`, "{\"audience\":\"\xff\"}", `{"rejected":"` + strings.Repeat("aB", 32) + `"}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, client := range []string{"billing", ""} {
			r, err := parseJSON(client, body)
			if err != nil {
				checkRefused(t, err)
				continue
			}
			checkParsed(t, r)
			if client != "" && r.Client != client {
				t.Errorf("the client of the path %q became %q", client, r.Client)
			}
		}
	})
}

func TestEmptyResourceIsLeftOut(t *testing.T) {
	r, err := parseForm("c", []byte("resource=&resource=https%3A%2F%2Fa&resource="))
	if err != nil || len(r.Resource) != 1 || r.Resource[0] != "https://a" {
		t.Errorf("%v, %v", r.Resource, err)
	}
}
