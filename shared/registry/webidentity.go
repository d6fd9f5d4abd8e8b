package registry

import (
	"slices"
	"strings"
	"time"
)

// NoAudience is the problem of a document with aws_web_identity where [Config.Audiences] is
// empty: another function may be able to use it.
const NoAudience = "is aws_web_identity, for which the operator allows no audience (WEB_IDENTITY_AUDIENCES)"

// The lifetimes and algorithms of AWS STS GetWebIdentityToken.
const (
	minWebIdentity = time.Minute
	// STS accepts an hour. The template's role allows five minutes, which is more than an
	// exchange takes.
	maxWebIdentity = 5 * time.Minute
	webIdentityRSA = "RS256"
	webIdentityEC  = "ES384"
)

// checkWebIdentity checks a document of aws_web_identity and sets its defaults. available
// says whether the operator allows any audience.
func (d *document) checkWebIdentity(available bool, problems *report) {
	c, a := d.credential, &d.options.assertion
	for _, useless := range []text{c.secret, c.certificate, c.key, c.pkcs12, c.keyAlias} {
		if useless.given() {
			problems.add(useless.name, "must not be kept beside aws_web_identity, which needs no credential")
		}
	}
	if a.algorithm.value == "" {
		a.algorithm.value = webIdentityRSA
	}
	if alg := a.algorithm.value; alg != webIdentityRSA && alg != webIdentityEC {
		problems.add(a.algorithm.name, "must be "+webIdentityRSA+" or "+webIdentityEC+" with aws_web_identity")
	}
	if a.lifetime == 0 {
		a.lifetime = minWebIdentity
	}
	if a.lifetime < minWebIdentity || a.lifetime > maxWebIdentity {
		problems.add(a.lifetimeName, "must be 60 to 300 seconds with aws_web_identity")
	}
	if !available {
		problems.add(c.methodName.name, NoAudience)
	}
}

// checkAudience checks the audience of the token that STS will issue, once the token
// endpoint is known as far as it will be.
func (d *document) checkAudience(allowed []string, problems *report) {
	member := d.options.assertion.audience.name
	switch audience := d.assertionAudience(); {
	case !slices.Contains(allowed, audience):
		problems.add(member, "is not one that the operator allows (WEB_IDENTITY_AUDIENCES)")
	case !mayReceive(d.tokenEndpoint, audience):
		// The author of a document could otherwise have a token for one server sent to
		// another, which might use it.
		problems.add(member, "is a URL with another host than the token endpoint's")
	}
}

// mayReceive reports whether a token for an audience may be sent to a token endpoint; empty
// means that the endpoint is not known. Only the operator knows the server of an audience
// that is not a URL.
func mayReceive(endpoint, audience string) bool {
	return endpoint == "" || !strings.HasPrefix(audience, "https://") || hostOf(endpoint) == hostOf(audience)
}
