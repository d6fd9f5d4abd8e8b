package registry

import (
	"slices"
	"strconv"

	"tokenvendor/shared/strictjson"
)

// shadowMembers are the members of shadow, which mean what they mean in a native
// document. What shadow leaves out about the place is that of the document.
func shadowMembers() []string {
	return []string{
		"client_id", "token_endpoint", "issuer", "client_secret", "token_endpoint_auth_method",
		"certificate", "private_key", "private_key_password", "pkcs12", "pkcs12_password", "kms_key_id",
		"kid", "alg", "assertion_audience", "assertion_type_header", "assertion_lifetime", "basic_encoding", "share",
	}
}

// readShadow reads shadow: a second credential, and the share of refreshes that try
// it. nil: there is none.
func readShadow(o object) (*document, float64) {
	if !o.given("shadow") {
		return nil, 0
	}
	inner, ok := o.child("shadow")
	if !ok {
		return nil, 0
	}
	for name := range inner.members {
		if !slices.Contains(shadowMembers(), name) {
			o.report.add(inner.path+strictjson.Quote(name), "is not known here")
		}
	}
	shadow := &document{
		id:         inner.line("client_id", maxLine),
		credential: readCredential(inner),
		place:      readPlace(inner),
		options:    emptyOptions(),
	}
	shadow.options.encoding = readEncoding(inner)
	shadow.options.assertion = readAssertion(inner)
	return shadow, readShare(inner)
}

// readShare reads share; without it every refresh tries the shadow.
func readShare(o object) float64 {
	raw, ok := o.members["share"]
	if !ok {
		return 1
	}
	share, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || share <= 0 || share > 1 {
		o.report.add(o.path+"share", "must be a number above 0 and at most 1")
	}
	return share
}

// inherit fills what the shadow leaves open from the document around it.
func (d *document) inherit(outer *document) {
	d.name = outer.name
	if !d.id.given() {
		d.id = outer.id
	}
	if !d.place.endpoint.given() && !d.place.issuer.given() {
		d.place = outer.place
	}
	if d.options.encoding == "" {
		d.options.encoding = outer.options.encoding
	}
	d.options.roots = outer.options.roots
}

// sameShadow reports whether nothing has changed about a shadow since it was made.
func sameShadow(a, b *Shadow) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Problem == b.Problem && a.Version == b.Version && a.IssuerHost == b.IssuerHost &&
		(a.Problem != "" || a.OAuth.TokenEndpoint() == b.OAuth.TokenEndpoint())
}
