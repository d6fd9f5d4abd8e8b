// Package client gets tokens from a token vendor for Go programs. Start with [New]; a
// [Client] gives tokens, an [oauth2.TokenSource], an [http.RoundTripper] or an [*http.Client].
//
// It signs its requests with the program's AWS credentials (Signature Version 4). It keeps a
// token in memory until the moment that the vendor names (refresh_after), and uses it until
// its end if the vendor cannot be reached. A token that an API answers with 401 is reported to
// the vendor, and the request is repeated once with the new one.
//
// No error, and no formatted value of this package, holds a token.
package client
