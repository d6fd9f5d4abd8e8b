package token

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
)

// TestResolve: what the document sets is the default and the bound, what it
// doesn't set is free, and allow_parameters lifts the bound of what it names.
func TestResolve(t *testing.T) {
	free := registry.Client{}
	bound := registry.Client{
		Scope: []string{"write", "read"}, Resource: []string{"urn:b", "urn:a"}, Audience: "inside", TokenFormat: "jwt",
		Parameters: map[string]string{"app_tid": "tenant", "fixed": "1"},
	}
	lifted := bound
	lifted.Allow = map[string]bool{"scope": true, "resource": true, "audience": true, "token_format": true, "app_tid": true, "extra": true, "fixed": true}
	defaults := oauth.Request{Ask: ask.Ask{Scope: strings.Fields("read write"), Resource: []string{"urn:a", "urn:b"}, Audience: "inside", TokenFormat: "jwt", Parameters: bound.Parameters}}
	for _, test := range []struct {
		name   string
		client registry.Client
		body   string
		want   oauth.Request
		kind   Kind
	}{
		{"free, nothing asked", free, `{}`, oauth.Request{}, noKind},
		{"free, all asked", free, `{"scope":"b a","resource":["urn:b","urn:a"],"audience":"x","token_format":"opaque","app_tid":"t"}`,
			oauth.Request{Ask: ask.Ask{Scope: strings.Fields("a b"), Resource: []string{"urn:a", "urn:b"}, Audience: "x", TokenFormat: "opaque", Parameters: map[string]string{"app_tid": "t"}}}, noKind},
		{"defaults", bound, `{}`, defaults, noKind},
		{"the defaults asked for", bound, `{"scope":"write read","resource":["urn:b","urn:a"],"audience":"inside","token_format":"jwt","app_tid":"tenant"}`, defaults, noKind},
		{"less", bound, `{"scope":"read","resource":"urn:b"}`,
			oauth.Request{Ask: ask.Ask{Scope: strings.Fields("read"), Resource: []string{"urn:b"}, Audience: "inside", TokenFormat: "jwt", Parameters: bound.Parameters}}, noKind},
		{"more scope", bound, `{"scope":"read admin"}`, oauth.Request{}, InvalidScope},
		{"part of a scope", bound, `{"scope":"rea"}`, oauth.Request{}, InvalidScope},
		{"scope in another case", bound, `{"scope":"Read"}`, oauth.Request{}, InvalidScope},
		{"more resource", bound, `{"resource":["urn:a","urn:c"]}`, oauth.Request{}, InvalidTarget},
		{"resource below one", bound, `{"resource":"urn:a:b"}`, oauth.Request{}, InvalidTarget},
		{"other audience", bound, `{"audience":"outside"}`, oauth.Request{}, InvalidTarget},
		{"other token_format", bound, `{"token_format":"opaque"}`, oauth.Request{}, Malformed},
		{"other app_tid", bound, `{"app_tid":"other"}`, oauth.Request{}, Malformed},
		{"unknown parameter", bound, `{"extra":"1"}`, oauth.Request{}, Malformed},
		{"fixed parameter", bound, `{"fixed":"2"}`, oauth.Request{}, Malformed},
		{"fixed parameter as it is", bound, `{"fixed":"1"}`, oauth.Request{}, Malformed},
		{"unknown parameter of a free document", free, `{"extra":"1"}`, oauth.Request{}, Malformed},
		{"lifted", lifted, `{"scope":"admin","resource":"urn:c","audience":"outside","token_format":"opaque","app_tid":"other","extra":"2","fixed":"3"}`,
			oauth.Request{Ask: ask.Ask{Scope: strings.Fields("admin"), Resource: []string{"urn:c"}, Audience: "outside", TokenFormat: "opaque",
				Parameters: map[string]string{"app_tid": "other", "extra": "2", "fixed": "3"}}}, noKind},
		{"lifted, nothing asked", lifted, `{}`, defaults, noKind},
		{"lifted, another parameter", lifted, `{"extra2":"2"}`, oauth.Request{}, Malformed},
		{"allowed name in another case", lifted, `{"Extra":"2"}`, oauth.Request{}, Malformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := ParseJSON("billing", []byte(test.body))
			if err != nil {
				t.Fatal(err)
			}
			got, err := r.resolve(&test.client)
			if test.kind != noKind {
				if err == nil || kindOf(t, err) != test.kind {
					t.Errorf("got %v, want kind %d", err, test.kind)
				}
				return
			}
			if err != nil || !sameWish(got, test.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}

func sameWish(a, b oauth.Request) bool {
	lists := len(a.Resource) == 0 && len(b.Resource) == 0 || reflect.DeepEqual(a.Resource, b.Resource)
	return lists && slices.Equal(a.Scope, b.Scope) && a.Audience == b.Audience && a.TokenFormat == b.TokenFormat && reflect.DeepEqual(a.Parameters, b.Parameters)
}

// TestResolveLeavesTheDocumentAlone: it is shared by all callers.
func TestResolveLeavesTheDocumentAlone(t *testing.T) {
	client := registry.Client{
		Scope: []string{"b", "a"}, Resource: []string{"urn:b", "urn:a"}, Parameters: map[string]string{"fixed": "1"},
		Allow: map[string]bool{"extra": true, "scope": true, "app_tid": true},
	}
	for _, body := range []string{`{}`, `{"extra":"2","app_tid":"t","scope":"c"}`} {
		r, err := ParseJSON("billing", []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		want, err := r.resolve(&client)
		if err != nil {
			t.Fatal(err)
		}
		want.Parameters["fixed"] = "changed"
	}
	if !reflect.DeepEqual(client.Scope, []string{"b", "a"}) || !reflect.DeepEqual(client.Resource, []string{"urn:b", "urn:a"}) ||
		!reflect.DeepEqual(client.Parameters, map[string]string{"fixed": "1"}) {
		t.Errorf("the document became %+v", client)
	}
}

// TestUnknownNames: a name is repeated only where that is harmless.
func TestUnknownNames(t *testing.T) {
	for name, told := range map[string]bool{
		"audince": true, "_a": true, strings.Repeat("a", 40): true,
		strings.Repeat("a", 41): false, "Secret": false, "a1": false, "a.b": false, "eyJhbGci": false,
	} {
		if got := strings.Contains(unknown(name).Error(), name); got != told {
			t.Errorf("%q told: %v, want %v", name, got, told)
		}
	}
}
