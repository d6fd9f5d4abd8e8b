// Package oauthtest is an authorization server for tests and for the local
// stack. It verifies what it is sent instead of believing it: form-decoded Basic
// credentials, certificates against the registered subject or thumbprint,
// assertions by another implementation of JWS than ours, with audience, expiry
// and replayed identifiers. It counts exchanges and failed logons, locks a client
// after five as SAP Cloud Identity Services does, and misbehaves on command as
// SAP's servers are known to.
//
// It listens on loopback with a certificate of its own authority. It doesn't
// import package testing or the code that it tests.
package oauthtest
