package registry

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestPlaceholdersAreRefused: a placeholder that is sent costs one of the five failed logons after which
// SAP's servers lock a client. A secret that may be random is accepted.
func TestPlaceholdersAreRefused(t *testing.T) {
	for _, value := range []string{
		"<client secret>", "<Client-Secret>", "<< Existing password/certificate removed on export >>", "${CLIENT_SECRET}", "{{ client_secret }}",
		"[REDACTED]", "********", "YOUR_CLIENT_SECRET", "your-client-secret", "your secret", "<CLIENT_ID> ",
	} {
		expectProblem(t, native(members{"client_secret": value}), "client_secret is a placeholder: put the value in its place")
		expectProblem(t, native(members{"client_secret": "s", "client_id": strings.TrimSpace(value)}), "client_id is a placeholder")
	}
	for _, value := range []string{"sec\nret", "\nsecret", "secret\t", "secret\x00", "\ufeffsecret", "secret\u200b"} {
		expectProblem(t, native(members{"client_secret": value}), "client_secret holds a line break or another invisible character")
	}
	expectProblem(t, native(members{"client_secret": "s", "client_id": "c\u200b"}), "client_id holds an invisible character")
	for _, value := range []string{"<aB3x9>", "<qYpWzR>", "${x1}", "[", "{{", "your", "yourKx9", "yourtown-billing", "your-app", "yoursecret", "You", "a*b", "…", "s", "ü ß"} {
		if _, err := load(t, native(members{"client_secret": value}), nil); err != nil {
			t.Errorf("%q: %v", value, err)
		}
	}
}

// TestPastedURLs: people paste the token endpoint where its base belongs, placeholders, and blanks.
func TestPastedURLs(t *testing.T) {
	for value, want := range map[string]string{
		"https://<tenant>.accounts.ondemand.com/oauth2/token":             "token_endpoint holds a placeholder",
		"https://login.microsoftonline.com/{tenant-id}/oauth2/v2.0/token": "token_endpoint holds a placeholder",
		"https://as.example.com/token\n":                                  "token_endpoint begins or ends with a blank",
		" https://as.example.com/token":                                   "token_endpoint begins or ends with a blank",
	} {
		expectProblem(t, native(members{"client_secret": "s", "token_endpoint": value}), want)
	}
	const tenant, subaccount = "https://tenant.accounts.ondemand.com", "https://sub.authentication.eu10.hana.ondemand.com"
	for name, tt := range map[string]struct {
		document members
		want     string
	}{
		"issuer":           {members{"issuer": tenant + "/oauth2/token", "token_endpoint": "", "client_secret": "s"}, tenant + "/oauth2/token"},
		"identity":         {members{"service_key": members{"url": tenant + "/oauth2/token", "clientid": "c", "clientsecret": "s"}}, tenant + "/oauth2/token"},
		"identity, slash":  {members{"service_key": members{"url": tenant + "/oauth2/token/", "clientid": "c", "clientsecret": "s"}}, tenant + "/oauth2/token"},
		"XSUAA":            {members{"service_key": members{"url": subaccount + "/oauth/token", "xsappname": "x", "clientid": "c", "clientsecret": "s"}}, subaccount + "/oauth/token"},
		"XSUAA, base only": {members{"service_key": members{"url": subaccount, "xsappname": "x", "clientid": "c", "clientsecret": "s"}}, subaccount + "/oauth/token"},
	} {
		document := tt.document
		if document["service_key"] == nil {
			document["client_id"] = "c"
		}
		client, err := load(t, must(json.Marshal(document)), nil)
		if err != nil || client.OAuth.TokenEndpoint() != tt.want {
			t.Errorf("%s: got error %v, or another token endpoint than %s", name, err, tt.want)
		}
	}
}
