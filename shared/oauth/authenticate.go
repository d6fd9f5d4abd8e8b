package oauth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Method is a client authentication method by its registered name (RFC 7591 section 2,
// RFC 8705 section 2).
type Method string

// The methods that this package implements.
const (
	ClientSecretPost        Method = "client_secret_post"
	ClientSecretBasic       Method = "client_secret_basic"
	PrivateKeyJWT           Method = "private_key_jwt"
	TLSClientAuth           Method = "tls_client_auth"
	SelfSignedTLSClientAuth Method = "self_signed_tls_client_auth"
	// AWSWebIdentity is not a registered name: private_key_jwt with an assertion that AWS
	// STS issues to the vendor's own role; see [IssuedAssertion].
	AWSWebIdentity Method = "aws_web_identity"
)

// MutualTLS reports whether the method authenticates the client by its certificate in the
// TLS handshake (RFC 8705).
func (m Method) MutualTLS() bool { return m == TLSClientAuth || m == SelfSignedTLSClientAuth }

// ErrTemporary marks an error of an [Authenticator] that may not happen again, for example
// when a signing service is not available.
var ErrTemporary = errors.New("temporary")

// ErrCertificateExpired says that the current time is outside the validity of the client's
// certificate, so that it was not sent.
var ErrCertificateExpired = errors.New("certificate expired or not yet valid")

// An Authenticator authenticates the client in one attempt of an exchange. It must be safe
// for concurrent use.
type Authenticator interface {
	// Authenticate adds the credential to the form or the header of one attempt. It is
	// called for each attempt, because an assertion must not be sent twice. It must not
	// log what it adds. An error ends the exchange before a request is sent. The error is
	// shown to the operator, so it must not contain a secret. It wraps ErrTemporary if a
	// later call may succeed.
	Authenticate(ctx context.Context, form url.Values, header http.Header) error
}

// SecretPost sends the secret in the body (client_secret_post, RFC 6749 section 2.3.1). It
// is the only form that SAP Cloud Identity Services and XSUAA decode in the same way.
type SecretPost struct{ Secret Secret }

// Authenticate implements [Authenticator].
func (a SecretPost) Authenticate(_ context.Context, form url.Values, _ http.Header) error {
	form.Set("client_secret", a.Secret.Expose())
	return nil
}

// BasicEncoding is the encoding of identifier and secret in the Authorization header,
// before base64.
type BasicEncoding string

const (
	// BasicForm encodes both as application/x-www-form-urlencoded, as RFC 6749 section
	// 2.3.1 and SAP Cloud Identity Services require.
	BasicForm BasicEncoding = "form"
	// BasicRaw does not encode them, as XSUAA (UAA) expects: it does not decode the "+" of
	// an encoded secret and answers 401.
	BasicRaw BasicEncoding = "raw"
)

// SecretBasic sends the secret in the Authorization header (client_secret_basic, RFC 6749
// section 2.3.1).
type SecretBasic struct {
	ClientID string
	Secret   Secret
	// Encoding: the zero value is [BasicForm].
	Encoding BasicEncoding
}

// Authenticate implements [Authenticator].
func (a SecretBasic) Authenticate(_ context.Context, _ url.Values, header http.Header) error {
	id, secret := a.ClientID, a.Secret.Expose()
	if a.Encoding != BasicRaw {
		id, secret = url.QueryEscape(id), url.QueryEscape(secret)
	}
	header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(id+":"+secret)))
	return nil
}

// Certificate is client authentication by mutual TLS (RFC 8705 section 2). The handshake
// sends the certificate of [Config], and client_id in the body names the client.
// Authenticate only prevents that an expired certificate is sent, which the server would
// count as a failed logon.
type Certificate struct {
	NotBefore, NotAfter time.Time
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Authenticate implements [Authenticator]. Its error wraps [ErrCertificateExpired].
func (a Certificate) Authenticate(context.Context, url.Values, http.Header) error {
	now := wallClock(a.Now)()
	if now.Before(a.NotBefore) || now.After(a.NotAfter) {
		return fmt.Errorf("%w: it is valid from %s until %s", ErrCertificateExpired, a.NotBefore.UTC().Format(time.RFC3339), a.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// wallClock strips the monotonic reading, which stops while a Lambda function is frozen.
func wallClock(now func() time.Time) func() time.Time {
	if now == nil {
		now = time.Now
	}
	return func() time.Time { return now().Round(0) }
}
