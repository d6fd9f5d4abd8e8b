// Package oauthtest is an authorization server for tests and for the local stack.
//
// It verifies every request: form-encoded Basic credentials, certificates against the
// registered subject or thumbprint, and assertions with a JWS implementation that package
// oauth does not use, including audience, expiry and replayed identifiers. It counts
// exchanges and failed logons, locks a client after five failed logons as SAP Cloud
// Identity Services does, and shows on request the faults that SAP's servers are known
// for. [Proxy] does the same for connections, in front of any server.
//
// The server listens on loopback with a certificate of its own authority. The package
// imports neither package testing nor package oauth.
package oauthtest
