package token

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/registry"
)

// TestResolve: A value of the document is the default and the bound. Without one the
// caller is free, but for app_tid, and an order is not. allow_parameters lifts the bound.
func TestResolve(t *testing.T) {
	free := registry.Client{}
	defaults := ask.Ask{Scope: strings.Fields("read write"), Resource: []string{"urn:a", "urn:b"}, Audience: "inside", TokenFormat: "jwt", AppTID: "tenant", Parameters: map[string]string{"fixed": "1"}}
	bound := registry.Client{Defaults: defaults}
	lifted := bound
	lifted.Allow = map[string]bool{"scope": true, "resource": true, "audience": true, "token_format": true, "app_tid": true, "extra": true, "fixed": true}
	for _, test := range []struct {
		name   string
		client registry.Client
		body   string
		want   ask.Ask
		kind   fault.Kind
		who    chooser
	}{
		{"free, nothing asked", free, `{}`, ask.Ask{}, noKind, byCaller},
		{"free, all asked", free, `{"scope":"b a","resource":["urn:b","urn:a"],"audience":"x","token_format":"opaque"}`,
			ask.Ask{Scope: strings.Fields("a b"), Resource: []string{"urn:a", "urn:b"}, Audience: "x", TokenFormat: "opaque"}, noKind, byCaller},
		{"defaults", bound, `{}`, defaults, noKind, byCaller},
		{"the defaults asked for", bound, `{"scope":"write read","resource":["urn:b","urn:a"],"audience":"inside","token_format":"jwt","app_tid":"tenant"}`, defaults, noKind, byCaller},
		{"less", bound, `{"scope":"read","resource":"urn:b"}`,
			ask.Ask{Scope: strings.Fields("read"), Resource: []string{"urn:b"}, Audience: "inside", TokenFormat: "jwt", AppTID: "tenant", Parameters: map[string]string{"fixed": "1"}}, noKind, byCaller},
		{"more scope", bound, `{"scope":"read admin"}`, ask.Ask{}, fault.InvalidScope, byCaller},
		{"part of a scope", bound, `{"scope":"rea"}`, ask.Ask{}, fault.InvalidScope, byCaller},
		{"scope in another case", bound, `{"scope":"Read"}`, ask.Ask{}, fault.InvalidScope, byCaller},
		{"more resource", bound, `{"resource":["urn:a","urn:c"]}`, ask.Ask{}, fault.InvalidTarget, byCaller},
		{"resource below one", bound, `{"resource":"urn:a:b"}`, ask.Ask{}, fault.InvalidTarget, byCaller},
		{"other audience", bound, `{"audience":"outside"}`, ask.Ask{}, fault.InvalidTarget, byCaller},
		{"other token_format", bound, `{"token_format":"opaque"}`, ask.Ask{}, fault.Malformed, byCaller},
		{"other app_tid", bound, `{"app_tid":"other"}`, ask.Ask{}, fault.Malformed, byCaller},
		{"unknown parameter", bound, `{"extra":"1"}`, ask.Ask{}, fault.Malformed, byCaller},
		{"fixed parameter", bound, `{"fixed":"2"}`, ask.Ask{}, fault.Malformed, byCaller},
		{"fixed parameter as it is", bound, `{"fixed":"1"}`, ask.Ask{}, fault.Malformed, byCaller},
		{"unknown parameter of a free document", free, `{"extra":"1"}`, ask.Ask{}, fault.Malformed, byCaller},
		{"lifted", lifted, `{"scope":"admin","resource":"urn:c","audience":"outside","token_format":"opaque","app_tid":"other","extra":"2","fixed":"3"}`,
			ask.Ask{Scope: strings.Fields("admin"), Resource: []string{"urn:c"}, Audience: "outside", TokenFormat: "opaque",
				AppTID: "other", Parameters: map[string]string{"extra": "2", "fixed": "3"}}, noKind, byCaller},
		{"lifted, nothing asked", lifted, `{}`, defaults, noKind, byCaller},
		{"lifted, another parameter", lifted, `{"extra2":"2"}`, ask.Ask{}, fault.Malformed, byCaller},
		{"app_tid of no document", free, `{"app_tid":"t"}`, ask.Ask{}, fault.Malformed, byCaller},
		{"order of nothing", free, `{}`, ask.Ask{}, noKind, byOrder},
		{"order of the defaults", bound, `{"scope":"write read","resource":["urn:b","urn:a"],"audience":"inside","token_format":"jwt","app_tid":"tenant"}`, defaults, noKind, byOrder},
		{"order of a lifted document", lifted, `{"scope":"admin","resource":"urn:c","audience":"outside","token_format":"opaque","app_tid":"other","extra":"2","fixed":"3"}`,
			ask.Ask{Scope: strings.Fields("admin"), Resource: []string{"urn:c"}, Audience: "outside", TokenFormat: "opaque",
				AppTID: "other", Parameters: map[string]string{"extra": "2", "fixed": "3"}}, noKind, byOrder},
		{"order of a scope", free, `{"scope":"a"}`, ask.Ask{}, fault.InvalidScope, byOrder},
		{"order of a resource", free, `{"resource":"urn:a"}`, ask.Ask{}, fault.InvalidTarget, byOrder},
		{"order of an audience", free, `{"audience":"x"}`, ask.Ask{}, fault.InvalidTarget, byOrder},
		{"order of a token_format", free, `{"token_format":"jwt"}`, ask.Ask{}, fault.Malformed, byOrder},
		{"order of an app_tid", free, `{"app_tid":"t"}`, ask.Ask{}, fault.Malformed, byOrder},
		{"permitted order", free, `{"scope":"a","resource":"urn:a","audience":"x"}`, ask.Ask{Scope: []string{"a"}, Resource: []string{"urn:a"}, Audience: "x"}, noKind, byPermittedOrder},
		{"permitted order of a token_format", free, `{"token_format":"jwt"}`, ask.Ask{}, fault.Malformed, byPermittedOrder},
		{"permitted order beyond the document", bound, `{"scope":"admin"}`, ask.Ask{}, fault.InvalidScope, byPermittedOrder},
		{"allowed name in another case", lifted, `{"Extra":"2"}`, ask.Ask{}, fault.Malformed, byCaller},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := parseJSON("billing", []byte(test.body))
			if err != nil {
				t.Fatal(err)
			}
			got, err := resolve(&r.Ask, &test.client, test.who)
			if test.kind != noKind {
				if err == nil || kindOf(t, err) != test.kind {
					t.Errorf("got %v, want kind %d", err, test.kind)
				}
				return
			}
			if err != nil || got.Key() != test.want.Key() {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}

// TestResolveResources: A resource that is no absolute URI has to be a value of the document.
func TestResolveResources(t *testing.T) {
	const name = "7f000000-aaaa-bbbb-cccc-000000000001"
	named := registry.Client{Defaults: ask.Ask{Resource: []string{name, "https://a/#b"}}}
	free := registry.Client{}
	lifted := registry.Client{Defaults: named.Defaults, Allow: map[string]bool{"resource": true}}
	for _, test := range []struct {
		client registry.Client
		asked  []string
		ok     bool
	}{
		{named, []string{name}, true},
		{named, []string{name, "https://a/#b"}, true},
		{named, []string{"7f000000-aaaa-bbbb-cccc-000000000002"}, false},
		{named, []string{"urn:a"}, false},
		{lifted, []string{"urn:a", name}, true},
		{lifted, []string{"7f000000-aaaa-bbbb-cccc-000000000002"}, false},
		{free, []string{"urn:a"}, true},
		{free, []string{name}, false},
		{free, []string{"https://a/#b"}, false},
		{free, []string{"https://u@a/"}, false},
		{free, []string{"/a"}, false},
	} {
		for _, by := range []chooser{byCaller, byOrder, byPermittedOrder} {
			want, err := resolve(&ask.Ask{Resource: test.asked}, &test.client, by)
			ok := test.ok && (by != byOrder || len(test.client.Defaults.Resource) > 0)
			if (err == nil) != ok || err != nil && kindOf(t, err) != fault.InvalidTarget || err == nil && !slices.Equal(want.Resource, test.asked) {
				t.Errorf("%v of %v, chooser %d: got %v, %v, want it accepted: %t", test.asked, test.client.Defaults.Resource, by, want.Resource, err, ok)
			}
		}
	}
}

// TestMistypedNameIsExplained: The name itself may hold a secret, and is not repeated.
func TestMistypedNameIsExplained(t *testing.T) {
	for name, want := range map[string]string{"Scope": "scope is meant?", "minTtl": "min_ttl is meant?", "token-format": "token_format is meant?"} {
		r, err := parseJSON("billing", []byte(`{"`+name+`":"1"}`))
		if err == nil {
			_, err = resolve(&r.Ask, &registry.Client{}, byCaller)
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
}

// TestResolveDoesNotChangeTheDocument: All callers share it.
func TestResolveDoesNotChangeTheDocument(t *testing.T) {
	defaults := func() ask.Ask {
		return ask.Ask{Scope: []string{"a", "b"}, Resource: []string{"urn:a", "urn:b"}, Parameters: map[string]string{"fixed": "1"}}
	}
	client := registry.Client{Defaults: defaults(), Allow: map[string]bool{"extra": true, "fixed": true, "scope": true, "app_tid": true}}
	for _, body := range []string{`{}`, `{"extra":"2","fixed":"2","app_tid":"t","scope":"c"}`} {
		r, err := parseJSON("billing", []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := resolve(&r.Ask, &client, byCaller); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(client.Defaults, defaults()) {
		t.Errorf("the document became %+v", client.Defaults)
	}
}

func TestErrorNamesOnlyPlainParameters(t *testing.T) {
	for name, told := range map[string]bool{
		"audince": true, "_a": true, strings.Repeat("a", 40): true,
		strings.Repeat("a", 41): false, "Secret": false, "a1": true, "a1b": false, "a.b": false, "eyJhbGci": false,
	} {
		if got := strings.Contains(unknownParameter(name).Error(), name); got != told {
			t.Errorf("%q told: %v, want %v", name, got, told)
		}
	}
}

func TestEqualAsksHaveOneKey(t *testing.T) {
	client := &registry.Client{Name: "billing", Defaults: ask.Ask{Scope: []string{"a", "b", "c"}}, Allow: map[string]bool{"x": true, "y": true}}
	for _, same := range [][]string{
		{"scope=a+b", "scope=b+a", "scope=b%20a", "scope=a+b+a+b", "scope=b+a&audience=&min_ttl=60", "client_id=billing&scope=a+b&grant_type=client_credentials"},
		{"resource=urn:a&resource=urn:b", "resource=urn:b&resource=urn:a", "resource=urn%3ab&resource=urn:a&resource=urn:b"},
		{"x=1&y=2", "y=2&x=1"},
		// The document's own scope, asked for or not.
		{"", "scope=a+b+c", "scope=c+b+a", "min_ttl=60"},
	} {
		keys := make(map[ask.Key]bool)
		for _, body := range same {
			r, err := parseForm("billing", []byte(body))
			if err != nil {
				t.Fatalf("%q: %v", body, err)
			}
			want, err := resolve(&r.Ask, client, byCaller)
			if err != nil {
				t.Fatalf("%q: %v", body, err)
			}
			keys[want.Key()] = true
		}
		if len(keys) != 1 {
			t.Errorf("%q: %d keys for one ask", same, len(keys))
		}
	}
}
