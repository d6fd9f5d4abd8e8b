// Package oauth is the client's side of RFC 6749 section 4.4: it exchanges a
// client's credential for an access token at an authorization server, with
// client authentication by secret (RFC 6749 section 2.3.1), by client
// certificate (RFC 8705) or by signed assertion (RFC 7523).
//
// Start with [Exchanger.Exchange]: one call is one exchange, with retries where
// a retry cannot count as a failed logon. SAP Cloud Identity Services locks a
// client for an hour, for everybody, after five failed logons; so an answer that
// refuses the client is never tried again here, and the caller of this package
// decides by [Error.FailedLogon] what to do next.
//
// The package refuses redirects, plain http, private addresses (unless allowed),
// answers over 1 MiB and tokens that are not printable ASCII. It never caches,
// reads no environment, and imports the standard library and the strict JSON
// reader only.
package oauth
