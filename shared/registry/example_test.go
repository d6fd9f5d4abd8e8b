package registry_test

import (
	"context"
	"errors"
	"fmt"

	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
)

// documents are secrets by name.
type documents map[string]string

// ReadSecret implements [secret.Reader].
func (d documents) ReadSecret(_ context.Context, name string, _ secret.Want) (secret.Secret, error) {
	text, ok := d[name]
	if !ok {
		return secret.Secret{}, secret.ErrNotFound
	}
	return secret.Secret{Text: []byte(text), Version: "v1"}, nil
}

// A service key of SAP BTP becomes a client. Members beside service_key set its defaults.
func ExampleRegistry_Load() {
	r := registry.New(registry.Config{
		Prefix: "token-vendor/clients/",
		Secrets: documents{"token-vendor/clients/billing": `{
			"service_key": {
				"clientid": "ca5c21f2", "clientsecret": "example", "app_tid": "0c1e5b1d",
				"url": "https://acme.accounts.ondemand.com"
			},
			"scope": "invoices.read invoices.write"
		}`},
	})
	client, _, err := r.Load(context.Background(), "billing", registry.Have{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.OAuth.Close()
	fmt.Println(client.Method)
	fmt.Println(client.OAuth.TokenEndpoint())
	fmt.Println(client.Defaults.Scope, client.Defaults.AppTID)
	// Output:
	// client_secret_post
	// https://acme.accounts.ondemand.com/oauth2/token
	// [invoices.read invoices.write] 0c1e5b1d
}

// Somebody pasted a new secret and narrowed the scope. If the authorization server refuses the
// new secret, the old one obtains tokens on the new terms.
func ExampleRegistry_LoadPrevious() {
	const document = `{"token_endpoint": "https://as.example.com/token", "client_id": "billing", "client_secret": %q, "scope": %q}`
	r := registry.New(registry.Config{
		Secrets:  documents{"billing": fmt.Sprintf(document, "new example", "invoices.read")},
		Previous: documents{"billing": fmt.Sprintf(document, "old example", "invoices.read invoices.write")},
	})
	client, _, err := r.Load(context.Background(), "billing", registry.Have{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.OAuth.Close()
	previous, err := r.LoadPrevious(context.Background(), client)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer previous.OAuth.Close()
	fmt.Println(previous.Defaults.Scope)
	fmt.Println("same terms:", previous.Terms == client.Terms)
	fmt.Println("same credential:", previous.Credential == client.Credential)
	// Output:
	// [invoices.read]
	// same terms: true
	// same credential: false
}

// All problems of a document are reported together. None repeats a value.
func ExampleDocumentError() {
	r := registry.New(registry.Config{
		Secrets: documents{"billing": `{
			"client_id": "billing", "client_secret": "example\n",
			"token_endpoint": "https://localhost/token",
			"scopes": "invoices.read", "token_format": "JWT"
		}`},
	})
	_, _, err := r.Load(context.Background(), "billing", registry.Have{})
	var bad *registry.DocumentError
	if errors.As(err, &bad) {
		for _, problem := range bad.Problems {
			fmt.Println(problem)
		}
	}
	// Output:
	// client_secret ends in a newline
	// scopes is not known here: scope is meant?
	// token_endpoint has a host that is not allowed
	// token_format must be jwt or opaque
}
