package registry

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"tokenvendor/shared/keypair/keypairtest"
)

func TestDocumentsRefused(t *testing.T) {
	deep := strings.Repeat(`{"credentials":`, 20) + `{"clientid":"a"}` + strings.Repeat("}", 20)
	nested := strings.Repeat(`{"credentials":`, 8) + `{"clientid":"a"}` + strings.Repeat("}", 8)
	tests := []struct{ name, document, want string }{
		{"empty", "", "the document is not a JSON object: it is empty"},
		{"plain text", testSecret, "the document is not a JSON object: it does not begin with { at line 1, column 1"},
		{"list", "[]", "the document is not a JSON object: it is a list"},
		{"trailing", `{"client_id":"a"} {}`, "the document is not a JSON object: more text after the object, at line 1, column 19"},
		{"trailing comma", "{\"client_id\":\"a\",\n}", "the document is not a JSON object: a comma before } or ] at line 2, column 1"},
		{"trailing comma after a byte order mark", "\ufeff{\"client_id\":\"a\",}", "the document is not a JSON object: a comma before } or ] at line 1, column 18"},
		{"single quotes", "{'client_id':'a'}", "the document is not a JSON object: a single quote: use double quotes at line 1, column 2"},
		{"quoted three times", `"\"{\\\"client_id\\\":\\\"a\\\"}\""`, "the document is not a JSON object: it is a JSON string"},
		{"not UTF-8", "{\"client_id\":\"\xff\"}", "the document is not a JSON object: a byte that is not UTF-8 at line 1, column 15"},
		{"twice", `{"client_id":"a","client_id":"b"}`, "the document is ambiguous: client_id is given twice"},
		{"twice inside", `{"credentials":{"clientid":"a","clientid":"b"}}`, "the document is ambiguous: clientid is given twice"},
		{"large", `{"client_id":"` + strings.Repeat("a", maxDocument) + `"}`, "the document is larger than 64 KiB"},
		{"deep", deep, "the document is nested too deeply"},
		{"nested", nested, "the document has too many envelopes"},
		{"no members", "{}", "the document has none of the members"},
		{"envelope of text", `{"credentials":"` + keypairtest.Canary + `"}`, "credentials must be an object"},
		{"envelope of nothing", `{"credentials":{"x":1}}`, "credentials has none of the members"},
		{"wrapped native", `{"service_key":{"client_id":"a","client_secret":"b","token_endpoint":"https://a.example.com"}}`, "service_key must hold a key"},
		{"service key as text", `{"service_key":"{}"}`, "service_key has none of the members"},
		{"service key as broken text", `{"service_key":"{\"clientid\":\"a\""}`, "service_key is not a JSON object"},
		{"service key as text with a member twice", `{"service_key":"{\"clientid\":\"a\",\"clientid\":\"b\"}"}`, "service_key is ambiguous: clientid is given twice"},
		{"quoted with a lone surrogate", `"{\"client_id\":\"\ud800\"}"`, "the document is not a JSON object"},
		{"quoted with a second member", `"{}","document":"{}"`, "the document is not a JSON object"},
		{"no bindings", `{"VCAP_SERVICES":{}}`, "VCAP_SERVICES must hold exactly one binding"},
		{"bindings of another service", `{"redis":[{"credentials":{"host":"h"}}]}`, "VCAP_SERVICES must hold exactly one binding"},
		{"same client twice", `{"identity":[{"credentials":{"clientid":"a"}},{"credentials":{"clientid":"a"}}]}`, "VCAP_SERVICES must hold exactly one binding"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { expectProblem(t, []byte(test.document), test.want) })
	}
}

func TestByteOrderMarkIsIgnored(t *testing.T) {
	if _, err := load(t, append([]byte("\xef\xbb\xbf"), native(members{"client_secret": "s"})...), nil); err != nil {
		t.Error(err)
	}
}

func TestNativeMembersRefused(t *testing.T) {
	keyed := func(more members) members {
		m := members{"private_key": testMaterial().PEM["rsa.key"]}
		for name, value := range more {
			m[name] = value
		}
		return m
	}
	ec256, many := testMaterial().PEM["ec256.key"], make([]string, 65)
	for i := range many {
		many[i] = "urn:x:" + strings.Repeat("a", i+1)
	}
	tests := []struct {
		name    string
		members members
		want    string
	}{
		{"secret blank", members{"client_secret": "   "}, "client_secret is blank"},
		{"secret newline", members{"client_secret": "s\n"}, "client_secret ends in a newline"},
		{"secret CRLF", members{"client_secret": "s\r\n"}, "client_secret ends in a newline"},
		{"secret long", members{"client_secret": strings.Repeat("s", 4097)}, "client_secret is too long"},
		{"secret number", members{"client_secret": 12345678}, "client_secret must be a string"},
		{"secret null", members{"client_secret": nil}, "client_secret must be a string"},
		{"id blank end", members{"client_secret": "s", "client_id": "a "}, "client_id begins or ends with a blank"},
		{"id control", members{"client_secret": "s", "client_id": "a\u0000b"}, "client_id must not hold control"},
		{"id colon in raw Basic", members{"client_secret": "s", "client_id": "a:b", "token_endpoint_auth_method": "client_secret_basic", "basic_encoding": "raw"}, "client_id holds a colon"},
		{"method unknown", members{"client_secret": "s", "token_endpoint_auth_method": "tls"}, "token_endpoint_auth_method must be"},
		{"method none", members{"client_secret": "s", "token_endpoint_auth_method": "none"}, "token_endpoint_auth_method must be"},
		{"method number", members{"client_secret": "s", "token_endpoint_auth_method": 1}, "token_endpoint_auth_method must be a string"},
		{"method without secret", members{"token_endpoint_auth_method": "client_secret_basic"}, "client_secret is missing"},
		{"method without certificate", keyed(members{"token_endpoint_auth_method": "tls_client_auth"}), "certificate is missing"},
		{"method without key", members{"token_endpoint_auth_method": "private_key_jwt"}, "private_key is missing"},
		{"secret and key", keyed(members{"client_secret": "s"}), "client_secret is ambiguous"},
		{"certificate without key", members{"certificate": testMaterial().PEM["rsa.chain"]}, "private_key is missing"},
		{"previous", members{"client_secret": "s", "previous": "Never"}, "previous must be allow or never"},
		{"expires", members{"client_secret": "s", "expires": "31.01.2027"}, "expires must be a date such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z"},
		{"previous true", members{"client_secret": "s", "previous": true}, "previous must be a string"},
		{"previous of a shadow", members{"client_secret": "s", "shadow": members{"client_secret": "t", "previous": "never"}}, "shadow.previous is not known here"},
		{"camel case", members{"client_secret": "s", "tokenFormat": "jwt"}, "a member is not known here: token_format is meant?"},
		{"capital letter", members{"client_secret": "s", "Scope": "a"}, "a member is not known here: scope is meant?"},
		{"hyphen", members{"client_secret": "s", "min-ttl": "a"}, "a member is not known here"},
		{"alg none", keyed(members{"alg": "none"}), "alg must be"},
		{"alg HS256", keyed(members{"alg": "HS256"}), "alg must be"},
		{"alg of EC", keyed(members{"alg": "ES256"}), "alg does not fit"},
		{"alg of P-384", members{"private_key": ec256, "alg": "ES384"}, "alg does not fit"},
		{"alg of RSA", members{"private_key": ec256, "alg": "PS256"}, "alg does not fit"},
		{"lifetime 0", keyed(members{"assertion_lifetime": 0}), "assertion_lifetime must be"},
		{"lifetime -1", keyed(members{"assertion_lifetime": -1}), "assertion_lifetime must be"},
		{"lifetime 3601", keyed(members{"assertion_lifetime": 3601}), "assertion_lifetime must be"},
		{"lifetime text", keyed(members{"assertion_lifetime": "60 s"}), "assertion_lifetime must be"},
		{"lifetime 1e9", keyed(members{"assertion_lifetime": 1e9}), "assertion_lifetime must be"},
		{"lifetime fraction", keyed(members{"assertion_lifetime": 1.5}), "assertion_lifetime must be"},
		{"typ", keyed(members{"assertion_type_header": "JWT {}"}), "assertion_type_header must be"},
		{"kid", keyed(members{"kid": strings.Repeat("k", 257)}), "kid is too long"},
		{"kms without KMS", members{"kms_key_id": "alias/token-vendor/billing"}, "kms_key_id cannot be used: there is no KMS here"},
		{"web identity", members{"token_endpoint_auth_method": "aws_web_identity"}, "token_endpoint_auth_method is aws_web_identity, for which the operator allows no audience"},
		{"scope quote", members{"client_secret": "s", "scope": `a "b"`}, "scope must be"},
		{"scope tab", members{"client_secret": "s", "scope": "a\tb"}, "scope must be"},
		{"scope list", members{"client_secret": "s", "scope": []string{"a"}}, "scope must be a string"},
		{"resource blank before", members{"client_secret": "s", "resource": " api"}, "resource must be printable"},
		{"resource newline", members{"client_secret": "s", "resource": []string{"urn:a", "urn:a\nb"}}, "resource must be printable"},
		{"resource long", members{"client_secret": "s", "resource": strings.Repeat("a", 2049)}, "resource must be printable"},
		{"resource object", members{"client_secret": "s", "resource": members{"a": "b"}}, "resource must be a string or a list"},
		{"resource many", members{"client_secret": "s", "resource": many}, "resource has too many"},
		{"audience", members{"client_secret": "s", "audience": "a\nb"}, "audience must not hold control"},
		{"token format", members{"client_secret": "s", "token_format": "JWT"}, "token_format must be jwt or opaque"},
		{"parameters text", members{"client_secret": "s", "parameters": "a=b"}, "parameters must be an object"},
		{"parameters nested", members{"client_secret": "s", "parameters": members{"a": members{}}}, "parameters.a must be a string"},
		{"parameters control", members{"client_secret": "s", "parameters": members{"a": "\r\n"}}, "parameters.a must not hold control"},
		{"allow text", members{"client_secret": "s", "allow_parameters": 1}, "allow_parameters must be"},
		{"allow many", members{"client_secret": "s", "allow_parameters": many}, "allow_parameters has too many"},
		{"unknown", members{"client_secret": "s", "scopes": "a"}, "scopes is not known here: scope is meant?"},
		{"wrong case", members{"client_secret": "s", "Scope": "a"}, "a member is not known here"},
		{"certificate_bound", members{"client_secret": "s", "certificate_bound": true}, "certificate_bound must be a string"},
		{"issuer query", members{"client_secret": "s", "issuer": "https://as.example.com?a=b"}, "issuer must not have a query"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { expectProblem(t, native(test.members), test.want) })
	}
}

func TestParametersRefused(t *testing.T) {
	credentials := []string{"client_id", "client_secret", "client_assertion", "client_assertion_type", "assertion", "grant_type",
		"username", "password", "code", "refresh_token", "subject_token", "actor_token", "code_verifier", "redirect_uri", "Client_Secret"}
	for _, name := range append(credentials, "", "a b", "ä", "a=b", strings.Repeat("a", 65)) {
		t.Run(name, func(t *testing.T) {
			expectProblem(t, native(members{"client_secret": "s", "parameters": members{name: "x"}}), "parameters")
			if name != "" {
				expectProblem(t, native(members{"client_secret": "s", "allow_parameters": []string{name}}), "allow_parameters ")
			}
		})
	}
	own := []string{"scope", "resource", "audience", "token_format"}
	for _, name := range own {
		expectProblem(t, native(members{"client_secret": "s", "parameters": members{name: "x"}}), "parameters."+name)
	}
	client, err := load(t, native(members{"client_secret": "s", "allow_parameters": append(own, "app_tid")}), nil)
	if err != nil || len(client.Allow) != 5 {
		t.Errorf("got %+v, %v, want five parameters allowed", client, err)
	}
}

// The console's key/value tab makes a string of each value, and so do Terraform's maps.
func TestValuesInStrings(t *testing.T) {
	key := testMaterial().PEM["rsa.key"]
	plain := native(members{
		"private_key": key, "assertion_lifetime": 90, "parameters": members{"organization": "x"}, "resource": []string{"urn:a", "urn:b"},
		"allow_parameters": []string{"app_tid"}, "ca_certificates": []string{testMaterial().PEM["ca"]}, "shadow": members{"client_secret": "t", "share": 0.5},
	})
	quoted := native(members{
		"private_key": key, "assertion_lifetime": "90", "parameters": `{"organization":"x"}`, "resource": `["urn:a", "urn:b"]`,
		"allow_parameters": `["app_tid"]`, "ca_certificates": string(must(json.Marshal([]string{testMaterial().PEM["ca"]}))), "shadow": `{"client_secret":"t","share":"0.5"}`,
	})
	want := must(load(t, plain, nil))
	for name, document := range map[string][]byte{"values": quoted, "document": must(json.Marshal(string(plain))), "both": must(json.Marshal(string(quoted)))} {
		got, err := load(t, document, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got.Terms != want.Terms || got.Credential != want.Credential || got.Shadow.Credential != want.Shadow.Credential || got.Shadow.Share != 0.5 {
			t.Errorf("%s: got another client than from numbers, lists and objects", name)
		}
	}
	if _, err := load(t, native(members{"client_secret": "s", "assertion_type_header": "", "parameters": ""}), nil); err != nil {
		t.Errorf("empty values: %v", err)
	}
}

// The golden documents show which server a key is for, and which member holds it.
func TestFindKey(t *testing.T) {
	for file, want := range map[string]string{
		"identity-secret": "identity  14", "identity-custom-domain": "identity  6", "identity-none-wrapped-jwt": "identity service_key 4", "xsuaa-custom-domain": "xsuaa uaa 4",
		"vcap-aicore": "xsuaa credentials 3", "vcap-oauth": "xsuaa oauth 4", "event-mesh": "xsuaa oa2 4", "camelcase": "xsuaa  4", "destination": "other  6",
		"bad-integration-suite": "unknown  3", "kubernetes-credentials": "xsuaa credentials 4", "bad-xsuaa-certurl": "xsuaa  5",
		"native-secret": "none", "salesforce": "none", "bad-no-format": "none", "bad-two-formats": "none",
	} {
		document := fillDocument(t, string(must(os.ReadFile("testdata/documents/"+file+".json"))))
		key, ok := FindKey(document)
		got := fmt.Sprint(key.Service, " ", key.Within, " ", len(key.Members))
		if !ok {
			got = "none"
		}
		if got != want || !slices.IsSorted(key.Members) {
			t.Errorf("%s: got %s, want %s: %v", file, got, want, key.Members)
		}
	}
	if _, ok := FindKey([]byte("{")); ok {
		t.Error("got a key in a broken document")
	}
}
