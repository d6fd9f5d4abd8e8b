// Package oauth is the client side of RFC 6749 section 4.4: it exchanges a client's
// credential for an access token at an authorization server. A client authenticates by
// secret (RFC 6749 section 2.3.1), by client certificate (RFC 8705) or by signed assertion
// (RFC 7523).
//
// Start with [NewClient] and [Exchanger.Exchange]. One call is one exchange. It is retried
// only where a retry cannot count as a failed logon, because SAP Cloud Identity Services
// locks a client for an hour, for all its users, after five failed logons. The caller uses
// [Error.FailedLogon] to decide whether the credential may be sent again.
//
// The package refuses redirects, plain http, private addresses (unless allowed), answers
// over 1 MiB and tokens that are not printable ASCII. It does not cache and does not read
// the environment. Besides the standard library it imports only the packages ask and
// strictjson.
package oauth
