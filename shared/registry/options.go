package registry

import (
	"crypto/x509"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"tokenvendor/shared/keypair"
	"tokenvendor/shared/oauth"
)

// BoundPolicy says what to do with a token that is bound to the client's certificate
// (RFC 8705 section 3). A caller without the private key may not be able to use it.
type BoundPolicy string

// The policies of the member certificate_bound.
const (
	// BoundWarn returns the token with a warning.
	BoundWarn BoundPolicy = "warn"
	// BoundAllow returns the token without a warning.
	BoundAllow BoundPolicy = "allow"
	// BoundRefuse returns an error instead of the token.
	BoundRefuse BoundPolicy = "refuse"
)

// maxAssertionLifetime is the longest lifetime that STS gives its own tokens.
const maxAssertionLifetime = time.Hour

// maxKeyID is the longest kid, in bytes.
const maxKeyID = 256

// options holds the members of a native document that say neither who the client is nor
// where the token endpoint is.
type options struct {
	scope, resource       []string
	audience, tokenFormat string
	parameters            map[string]string
	allow                 map[string]bool
	bound                 BoundPolicy
	// roots are the authorities that ca_certificates names.
	roots []*x509.Certificate
	// notes are those of [Client].
	notes []string
	// noPrevious forbids the use of the secret's previous version.
	noPrevious bool
	encoding   oauth.BasicEncoding
	assertion  assertionOptions
	dialect    oauth.Dialect
	tls        oauth.TLSOptions
	// single is single_token.
	single bool
	// expires is zero if it is absent.
	expires time.Time
	// rate is exchanges_per_second, and rateName its name in notes; 0: it is absent.
	rate     float64
	rateName string
}

type assertionOptions struct {
	typ, keyID          string
	thumbprint          string
	audience, algorithm text
	lifetime            time.Duration
	// lifetimeName is the name of the lifetime in problems.
	lifetimeName string
}

func emptyOptions() options {
	return options{parameters: map[string]string{}, bound: BoundWarn}
}

func readOptions(o object) options {
	opts := options{
		scope:       readScope(o),
		resource:    readResource(o),
		audience:    o.line("audience", maxLine).value,
		tokenFormat: o.choice("token_format", "jwt", "opaque"),
		parameters:  readParameters(o),
		allow:       readAllow(o),
		bound:       BoundPolicy(o.choice("certificate_bound", string(BoundWarn), string(BoundAllow), string(BoundRefuse))),
		noPrevious:  o.choice("previous", "allow", "never") == "never",
		encoding:    readEncoding(o),
		assertion:   readAssertion(o),
		dialect:     readDialect(o),
		tls:         readTLS(o),
		single:      o.boolean("single_token", false),
		expires:     readExpires(o),
		rate:        readRate(o),
		rateName:    o.path + rateMember,
	}
	opts.roots, opts.notes = readRoots(o)
	if opts.bound == "" {
		opts.bound = BoundWarn
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
		keyID:        o.line("kid", maxKeyID).value,
		algorithm:    text{o.path + "alg", o.choice("alg", oauth.Algorithms()...)},
		lifetime:     readLifetime(o),
		thumbprint:   o.choice("assertion_thumbprint", thumbprintSHA256, thumbprintSHA1, thumbprintNone),
		lifetimeName: o.path + "assertion_lifetime",
	}
}

// readScope reads scope (RFC 6749 section 3.3).
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

// readResource reads resource. RFC 8707 section 2 wants absolute URIs without fragment, such as
// the URNs that name a dependency to SAP Cloud Identity Services. Microsoft Entra ID (v1) and
// AD FS also know resources by GUIDs and other names.
func readResource(o object) []string {
	list := o.strings("resource")
	if len(list) > maxParameters {
		o.report.add(o.path+"resource", "has too many values")
		return nil
	}
	for _, resource := range list {
		printable := !strings.ContainsFunc(resource, func(r rune) bool { return !unicode.IsPrint(r) })
		if !printable || len(resource) > maxLine || strings.TrimSpace(resource) != resource {
			o.report.add(o.path+"resource", "must be printable text of at most "+strconv.Itoa(maxLine)+" bytes without blanks around it")
		}
	}
	return unique(list)
}

// readLifetime reads assertion_lifetime.
func readLifetime(o object) time.Duration {
	return o.seconds("assertion_lifetime", maxAssertionLifetime)
}

// readExpires reads expires, a date or a time. A date is the last day, in UTC.
func readExpires(o object) time.Time {
	t := o.line("expires", maxLine)
	if !t.given() {
		return time.Time{}
	}
	if day, err := time.Parse(time.DateOnly, t.value); err == nil {
		return day.AddDate(0, 0, 1)
	}
	at, err := time.Parse(time.RFC3339, t.value)
	if err != nil {
		o.report.add(t.name, "must be a date such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z")
	}
	return at
}

// rateMember is how many exchanges per second the server bears.
const rateMember = "exchanges_per_second"

// readRate reads exchanges_per_second; 0: it is absent.
func readRate(o object) float64 {
	raw := o.bare(rateMember)
	if raw == "" {
		return 0
	}
	rate, ok := parseRate(raw)
	if !ok {
		o.report.add(o.path+rateMember, "must be a number from 0.5 to 1000")
	}
	return rate
}

// rateAt returns [Client.Rate] at a host, and the notes. The clients of a host that counts all of
// them together may belong to other teams.
func (o options) rateAt(host string) (rate float64, notes []string) {
	if _, byHost := Budget(host); !byHost || o.rate <= DefaultRate {
		return o.rate, o.notes
	}
	return DefaultRate, append(slices.Clip(o.notes), o.rateName+": this server counts all of its clients together, so that only the operator (EXCHANGE_RATES) may exceed the default; it is not used")
}

// readType reads assertion_type_header: JWT, or client-authentication+jwt, which servers
// require that follow the revision of RFC 7523.
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

// readRoots reads ca_certificates, which replace the system's roots. notes say which of them
// are not used.
func readRoots(o object) (roots []*x509.Certificate, notes []string) {
	list := o.strings("ca_certificates")
	if len(list) == 0 {
		return nil, nil
	}
	roots, skipped, err := keypair.ParseRoots(list)
	if err != nil {
		o.report.add(o.path+"ca_certificates", err.Error())
	}
	for _, reason := range skipped {
		notes = append(notes, o.path+"ca_certificates: "+reason+" and is not used")
	}
	return roots, notes
}
