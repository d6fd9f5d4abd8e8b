package registry

import (
	"crypto/x509"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tokenvendor/shared/oauth"
)

// maxAssertionLifetime is as long as STS lets its own assertions live.
const maxAssertionLifetime = time.Hour

// options are the members of a native document that are neither credential nor
// place.
type options struct {
	scope, resource       []string
	audience, tokenFormat string
	parameters            map[string]string
	allow                 map[string]bool
	bound                 BoundPolicy
	roots                 *x509.CertPool
	encoding              oauth.BasicEncoding
	assertion             assertionOptions
	// shadow is the second credential that is being tried, with the share of
	// refreshes that try it; nil: there is none.
	shadow      *document
	shadowShare float64
	// shadowProblem is what the network says against the shadow; empty: nothing.
	shadowProblem string
}

type assertionOptions struct {
	typ, keyID          string
	audience, algorithm text
	lifetime            time.Duration
	// lifetimeName is how problems call the lifetime.
	lifetimeName string
}

func emptyOptions() options {
	return options{parameters: map[string]string{}, allow: map[string]bool{}, bound: BoundWarn}
}

func readOptions(o object) options {
	opts := emptyOptions()
	opts.scope = readScope(o)
	opts.resource = readResource(o)
	opts.audience = o.line("audience", maxLine).value
	opts.tokenFormat = o.choice("token_format", "jwt", "opaque")
	opts.parameters = readParameters(o)
	opts.allow = readAllow(o)
	opts.roots = readRoots(o)
	opts.encoding = readEncoding(o)
	opts.assertion = readAssertion(o)
	opts.shadow, opts.shadowShare = readShadow(o)
	if bound := o.choice("certificate_bound", string(BoundWarn), string(BoundAllow), string(BoundRefuse)); bound != "" {
		opts.bound = BoundPolicy(bound)
	}
	return opts
}

func readEncoding(o object) oauth.BasicEncoding {
	return oauth.BasicEncoding(o.choice("basic_encoding", string(oauth.BasicForm), string(oauth.BasicRaw)))
}

func readAssertion(o object) assertionOptions {
	return assertionOptions{
		audience:     o.line("assertion_audience", maxLine),
		typ:          readType(o),
		keyID:        o.line("kid", 256).value,
		algorithm:    text{o.path + "alg", o.choice("alg", "RS256", "PS256", "ES256", "ES384")},
		lifetime:     readLifetime(o),
		lifetimeName: o.path + "assertion_lifetime",
	}
}

// readScope reads scope, the list of RFC 6749 section 3.3.
func readScope(o object) []string {
	t := o.text("scope", maxSecret)
	if strings.ContainsFunc(t.value, func(r rune) bool { return r != ' ' && !isNQCHAR(r) }) {
		o.report.add(t.name, "must be names in printable ASCII without quote and backslash, with spaces between")
	}
	return unique(strings.Fields(t.value))
}

// isNQCHAR is NQCHAR of RFC 6749 appendix A.
func isNQCHAR(r rune) bool { return r > ' ' && r <= '~' && r != '"' && r != '\\' }

func unique(list []string) []string {
	var kept []string
	for _, s := range list {
		if !slices.Contains(kept, s) {
			kept = append(kept, s)
		}
	}
	return kept
}

// readResource reads resource: absolute URIs without fragment (RFC 8707 section
// 2), such as the URNs that name a dependency to SAP Cloud Identity Services.
func readResource(o object) []string {
	list := o.strings("resource")
	if len(list) > maxParameters {
		o.report.add(o.path+"resource", "has too many values")
		return nil
	}
	for _, uri := range list {
		u, err := url.Parse(uri)
		bad := err != nil || !u.IsAbs() || strings.Contains(uri, "#") || len(uri) > maxLine
		if bad || strings.ContainsFunc(uri, func(r rune) bool { return !isNQCHAR(r) }) {
			o.report.add(o.path+"resource", "must be an absolute URI without fragment")
		}
	}
	return unique(list)
}

// readLifetime reads assertion_lifetime, in seconds.
func readLifetime(o object) time.Duration {
	raw, ok := o.members["assertion_lifetime"]
	if !ok {
		return 0
	}
	seconds, err := strconv.Atoi(string(raw))
	if lifetime := time.Duration(seconds) * time.Second; err == nil && seconds >= 1 && seconds <= int(maxAssertionLifetime/time.Second) {
		return lifetime
	}
	o.report.add(o.path+"assertion_lifetime", "must be a whole number of seconds from 1 to 3600")
	return 0
}

// readType reads assertion_type_header: JWT, or client-authentication+jwt as
// servers that follow the revision of RFC 7523 ask for.
func readType(o object) string {
	t := o.text("assertion_type_header", 64)
	bad := func(r rune) bool {
		return !strings.ContainsRune("+./_-", r) && (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z')
	}
	if strings.ContainsFunc(t.value, bad) {
		o.report.add(t.name, "must be a media type such as JWT")
	}
	return t.value
}
