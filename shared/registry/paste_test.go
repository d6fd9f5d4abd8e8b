package registry

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
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

// TestPastesOfKubernetes: the data of a Secret is base64, which kubectl shows as it is.
func TestPastesOfKubernetes(t *testing.T) {
	encode := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	key := members{"clientid": encode("c"), "clientsecret": encode(testSecret), "url": encode("https://tenant.accounts.ondemand.com")}
	file := members{"key.json": encode(string(native(members{"client_secret": testSecret})))}
	const decode = "looks like base64: decode it (base64 -d)"
	for name, test := range map[string]struct {
		document any
		want     string
	}{
		"manifest":              {members{"apiVersion": "v1", "kind": "Secret", "metadata": members{"name": "x"}, "data": key}, "the document is a Kubernetes Secret"},
		"data":                  {key, "url looks like base64, as all data of a Kubernetes Secret"},
		"data with a file":      {file, "the document has a value that " + decode},
		"data with an envelope": {members{"credentials": file["key.json"]}, "credentials " + decode},
		"data of a native one":  {members{"client_id": encode("c"), "client_secret": encode("s"), "token_endpoint": encode("https://as.example.com/token")}, "token_endpoint looks like base64"},
		"key of a Secret":       {members{"client_id": "c", "issuer": "https://as.example.com", "private_key": encode(testMaterial().PEM["rsa.key"])}, "private_key is not PEM but looks like base64"},
		"value":                 {file["key.json"], "the document is not a JSON object: it " + decode},
	} {
		t.Run(name, func(t *testing.T) { expectProblem(t, must(json.Marshal(test.document)), test.want) })
	}
	for _, manifest := range []string{"apiVersion: v1\ndata:\n  key.json: %s\nkind: Secret\n", "# a comment\n---\nkind: Secret\ndata: {key.json: %s}\n"} {
		expectProblem(t, fmt.Appendf(nil, manifest, file["key.json"]), "the document is a Kubernetes Secret, whose data is base64")
	}
}
