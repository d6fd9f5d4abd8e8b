package registry

import (
	"cmp"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tokenvendor/shared/keypair"
	"tokenvendor/shared/oauth"
)

// aliasPrefix and a client's name are the alias of the client's key in AWS KMS.
const aliasPrefix = "alias/token-vendor/"

// nextKey is what the alias of a client's next key ends in, while keys change.
const nextKey = "-next"

// checkKeyAlias keeps a document to its own client's key: the function's role may
// sign with every client's, so whoever may write one document could otherwise sign
// as any of them.
func (r *Registry) checkKeyAlias(d *document, problems *report) {
	c, alias := d.credential, d.credential.keyAlias
	own := aliasPrefix + d.name
	switch {
	case !alias.given() || d.method == oauth.AWSWebIdentity:
		return
	case r.cfg.Keys == nil:
		problems.add(alias.name, "cannot be used: there is no KMS here")
	case strings.HasSuffix(d.name, nextKey):
		// billing's next key and the key of a client billing-next have one name.
		problems.add(alias.name, "cannot be used by a client whose name ends in "+nextKey)
	case alias.value != own && alias.value != own+nextKey:
		problems.add(alias.name, "must be "+aliasPrefix+" and the client's own name, or that and "+nextKey)
	}
	for _, other := range []text{c.key, c.pkcs12} {
		if other.given() {
			problems.add(alias.name, "and "+other.name+" are both given")
		}
	}
	if d.method != oauth.PrivateKeyJWT && d.method != "" {
		problems.add(alias.name, "is only for private_key_jwt")
	}
}

// The lifetimes that STS gives its tokens, and its algorithms.
const (
	minWebIdentity = time.Minute
	// STS would issue them for an hour. The template's role asks for five minutes at most,
	// which is more than an exchange takes.
	maxWebIdentity = 5 * time.Minute
	webIdentityRSA = "RS256"
	webIdentityEC  = "ES384"
)

// checkWebIdentity looks at a document without a credential of its own.
func (r *Registry) checkWebIdentity(d *document, problems *report) {
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
	if r.cfg.Identity == nil || len(r.cfg.Audiences) == 0 {
		problems.add(c.method.name, "is aws_web_identity, for which the operator allows no audience (WEB_IDENTITY_AUDIENCES)")
	}
}

// openKeys finds out about the keys that are kept elsewhere. The error wraps
// [secret.ErrDenied] or [secret.ErrUnavailable].
func (r *Registry) openKeys(ctx context.Context, d *document, problems *report) error {
	switch audience := d.options.assertion.audience.name; {
	case d.method == oauth.AWSWebIdentity && !slices.Contains(r.cfg.Audiences, d.assertionAudience()):
		problems.add(audience, "is not one that the operator allows (WEB_IDENTITY_AUDIENCES)")
	case d.method == oauth.AWSWebIdentity && !goesWhere(d.tokenEndpoint, d.assertionAudience()):
		// Whoever writes a document could else have a proof for one server sent to
		// another, which might use it.
		problems.add(audience, "is a URL with another host than the token endpoint's")
	case d.method == oauth.PrivateKeyJWT && d.credential.keyAlias.given():
		return r.openKey(ctx, d, problems)
	}
	return nil
}

// goesWhere reports whether a proof for an audience may be sent to a token endpoint;
// empty: that is not known. What an audience that is no URL stands for only the operator
// knows.
func goesWhere(endpoint, audience string) bool {
	return endpoint == "" || !strings.HasPrefix(audience, "https://") || hostOf(endpoint) == hostOf(audience)
}

// openKey makes the signer of a key in KMS.
func (r *Registry) openKey(ctx context.Context, d *document, problems *report) error {
	alias := d.credential.keyAlias
	public, err := r.cfg.Keys.Public(ctx, alias.value)
	switch {
	case errors.Is(err, ErrNoKey):
		problems.add(alias.name, "names no key that signs: it must be an asymmetric KMS key of the usage SIGN_VERIFY")
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", alias.name, err)
	}
	if chain := d.pair.Chain; len(chain) > 0 && !keypair.SamePublicKey(chain[0].PublicKey, public) {
		problems.add(d.credential.certificate.name, "and "+alias.name+" do not belong together")
	}
	algorithm := d.options.assertion.algorithm
	natural := oauth.DefaultAlgorithm(public)
	if natural == "" {
		problems.add(alias.name, "names a key that is not supported: take "+keypair.Supported)
		return nil
	}
	d.public = public
	d.signer, err = oauth.NewSigner(public, algorithm.value, func(ctx context.Context, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
		return r.cfg.Keys.Sign(ctx, alias.value, cmp.Or(algorithm.value, natural), digest)
	})
	if err != nil {
		problems.add(algorithm.name, "does not fit the key")
	}
	return nil
}

// keyVersion tells the keys that the document's aliases lead to from those of another
// time; empty: it names none. The shadow's counts for the shadow alone.
func (d *document) keyVersion() string {
	if d.public == nil {
		return ""
	}
	der, err := x509.MarshalPKIXPublicKey(d.public)
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	sum := sha256.Sum256(der)
	return "+" + hex.EncodeToString(sum[:6])
}

// webIdentity proves the client by a token of the vendor's own role.
func (r *Registry) webIdentity(d *document) oauth.IssuedAssertion {
	request := WebIdentityRequest{
		Client:    d.name,
		Audience:  d.assertionAudience(),
		Algorithm: d.options.assertion.algorithm.value,
		Lifetime:  d.options.assertion.lifetime,
	}
	return oauth.IssuedAssertion{Issue: func(ctx context.Context) (oauth.Secret, error) {
		return r.cfg.Identity.Issue(ctx, request)
	}}
}
