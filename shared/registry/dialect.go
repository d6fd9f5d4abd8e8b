package registry

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/strictjson"
)

// The values of assertion_thumbprint.
const (
	thumbprintSHA256 = "x5t#S256"
	thumbprintSHA1   = "x5t"
	thumbprintNone   = "none"
)

const (
	// defaultGrant is grant_type of RFC 6749 section 4.4.2.
	defaultGrant = "client_credentials"
	// maxAttempt is the time of a whole exchange.
	maxAttempt = 12 * time.Second
	// maxAssumed is the longest lifetime of any token.
	maxAssumed = 24 * time.Hour
)

func readDialect(o object) oauth.Dialect {
	d := oauth.Dialect{
		Headers:        readHeaders(o),
		OmitClientID:   !o.boolean("client_id_in_body", true),
		GrantType:      o.choice("grant_type", defaultGrant, "openapi_2lo", "account_credentials"),
		JSON:           o.choice("request_format", "form", "json") == "json",
		AttemptTimeout: o.seconds("attempt_timeout", maxAttempt),
		AssumeLifetime: o.seconds("assume_expires_in", maxAssumed),
	}
	if d.GrantType == defaultGrant {
		d.GrantType = ""
	}
	return d
}

// readTLS reads tls. An unknown member is a problem, because its author believes that it has
// an effect.
func readTLS(o object) oauth.TLSOptions {
	if !o.given("tls") {
		return oauth.TLSOptions{}
	}
	inner, ok := o.child("tls")
	if !ok {
		return oauth.TLSOptions{}
	}
	for name := range inner.members {
		if !slices.Contains([]string{"max_version", "rsa_key_exchange", "post_quantum"}, name) {
			o.report.add(inner.path+strictjson.Quote(name), "is not known here")
		}
	}
	version := inner.bare("max_version")
	if !slices.Contains([]string{"", "1.2", "1.3"}, version) {
		o.report.add(inner.path+"max_version", "must be 1.2 or 1.3")
	}
	return oauth.TLSOptions{
		AtMost12:       version == "1.2",
		RSAKeyExchange: inner.boolean("rsa_key_exchange", false),
		NoPostQuantum:  !inner.boolean("post_quantum", true),
	}
}

// readHeaders reads headers: further request headers with fixed values, which are secrets.
func readHeaders(o object) map[string]oauth.Secret {
	if !o.given("headers") {
		return nil
	}
	inner, ok := o.child("headers")
	if !ok {
		return nil
	}
	if len(inner.members) > maxParameters {
		o.report.add(o.path+"headers", "has too many members")
		return nil
	}
	headers := map[string]oauth.Secret{}
	for name, raw := range inner.members {
		member, canonical := inner.path+strictjson.Quote(name), http.CanonicalHeaderKey(name)
		_, twice := headers[canonical]
		switch {
		case !validHeader(name):
			o.report.add(o.path+"headers", "has a name that is not made of 1 to 64 of the characters a-z A-Z 0-9 _ -")
		case isOwnHeader(canonical):
			o.report.add(o.path+"headers", "must not hold Authorization, Host, Cookie, Content-*, Proxy-*, or a header of the connection or of the vendor")
		case twice:
			o.report.add(member, "is given twice")
		default:
			value := o.report.text(raw, member, maxSecret)
			if strings.ContainsFunc(value.value, func(r rune) bool { return r < ' ' || r > '~' }) || strings.TrimSpace(value.value) != value.value {
				o.report.add(member, "must be printable ASCII without blanks around it")
			}
			headers[canonical] = oauth.NewSecret(value.value)
		}
	}
	return headers
}

func validHeader(name string) bool { return validParameter(name) && !strings.Contains(name, ".") }

// isOwnHeader reports whether a header belongs to the client authentication, to the body, to
// the connection (RFC 9110 section 7.6.1) or to the vendor.
func isOwnHeader(canonical string) bool {
	switch canonical {
	case "Authorization", "Host", "Cookie", "Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
		"Expect", "Accept-Encoding", "X-Correlationid":
		return true
	}
	return strings.HasPrefix(canonical, "Content-") || strings.HasPrefix(canonical, "Proxy-")
}

// checkDialect reports what the method does not allow.
func (d *document) checkDialect(problems *report) {
	if d.options.dialect.OmitClientID && (d.method == oauth.ClientSecretPost || d.method.MutualTLS()) {
		problems.add(d.native.path+"client_id_in_body", "must be true with "+string(d.method)+", which names the client in the body")
	}
	if d.options.single && d.shadow != nil {
		problems.add(d.native.path+"shadow", "cannot be used beside single_token: it is tried when a token is replaced early")
	}
	thumbprint := d.options.assertion.thumbprint
	if (thumbprint == thumbprintSHA256 || thumbprint == thumbprintSHA1) && d.method == oauth.PrivateKeyJWT && !d.credential.certificate.given() && !d.credential.pkcs12.given() {
		problems.add(d.native.path+"assertion_thumbprint", "needs a certificate")
	}
}

// dialectTerms are the fields of [Client.Terms] for members that change what a token is. A
// document without them has none, so that its terms stay the same.
func dialectTerms(d oauth.Dialect) fields {
	var f fields
	if d.GrantType != "" {
		f = append(f, ":grant_type", d.GrantType)
	}
	if d.AssumeLifetime != 0 {
		f = append(f, ":assume_expires_in", d.AssumeLifetime.String())
	}
	// A header such as X-zid selects a tenant.
	names := make([]string, 0, len(d.Headers))
	for name := range d.Headers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		f = append(f, ":header", name, d.Headers[name].Expose())
	}
	return f
}

// dialectCredential are the fields of [Client.Credential] for members that change how the
// credential is presented.
func dialectCredential(o options) fields {
	var f fields
	for _, member := range []struct {
		name string
		set  bool
	}{
		{":client_id_in_body", o.dialect.OmitClientID},
		{":request_format", o.dialect.JSON},
		{":tls.max_version", o.tls.AtMost12},
		{":tls.rsa_key_exchange", o.tls.RSAKeyExchange},
		{":tls.post_quantum", o.tls.NoPostQuantum},
	} {
		if member.set {
			f = append(f, member.name)
		}
	}
	if t := o.assertion.thumbprint; t != "" && t != thumbprintSHA256 {
		f = append(f, ":assertion_thumbprint", t)
	}
	return f
}

// boolean reads true or false, also in a string; otherwise if it is absent.
func (o object) boolean(name string, otherwise bool) bool {
	switch o.bare(name) {
	case "":
		return otherwise
	case "true":
		return true
	case "false":
		return false
	}
	o.report.add(o.path+name, "must be true or false")
	return otherwise
}

// seconds reads a whole number of seconds from 1 to limit; 0: it is absent.
func (o object) seconds(name string, limit time.Duration) time.Duration {
	raw := o.bare(name)
	if raw == "" {
		return 0
	}
	most := int(limit / time.Second)
	if seconds, err := strconv.Atoi(raw); err == nil && seconds >= 1 && seconds <= most {
		return time.Duration(seconds) * time.Second
	}
	o.report.add(o.path+name, "must be a whole number of seconds from 1 to "+strconv.Itoa(most))
	return 0
}
