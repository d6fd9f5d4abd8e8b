// Package registry turns the name of a client into an OAuth client that is
// ready to authenticate. There is no list of clients: client "billing" is the
// secret <prefix>billing, and the secret's document says everything else. Start
// with [Registry.Load].
//
// A document has one of five formats, told apart by its members and never by
// trying one after another: native (client_id), a service key of SAP BTP's
// identity or xsuaa service as it comes (clientid), an envelope around one of
// these (credentials, uaa, VCAP_SERVICES), or a service key wrapped in native
// members (service_key).
//
// Documents are written by people, so every problem of a document is reported
// at once, each naming its member. They may be secret or hostile, so no problem
// holds a value, sizes and iteration counts are bounded before they cost
// anything, and only https endpoints are taken. The package doesn't cache and
// starts no exchange.
//
// It imports the standard library, package keypair, the OAuth client and the strict JSON
// reader. It knows nothing of AWS: a [secret.Reader] comes from outside.
package registry
