package oauth

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// ErrTemporary marks the error of an [Authenticator] that may go away by
// itself, such as a signing service that is down.
var ErrTemporary = errors.New("temporary")

// ErrCertificateExpired says that the client's certificate is out of its
// validity, so that it was not sent.
var ErrCertificateExpired = errors.New("certificate expired or not yet valid")

// SecretPost sends the secret in the body (client_secret_post, RFC 6749 section
// 2.3.1). It is the one form that SAP Cloud Identity Services and XSUAA
// understand alike.
type SecretPost struct{ Secret Secret }

// Authenticate implements [Authenticator].
func (a SecretPost) Authenticate(_ context.Context, form url.Values, _ http.Header) error {
	form.Set("client_secret", a.Secret.Expose())
	return nil
}

// BasicEncoding says how identifier and secret are written into the
// Authorization header before base64.
type BasicEncoding string

const (
	// BasicForm encodes both as application/x-www-form-urlencoded, as RFC 6749
	// section 2.3.1 and SAP Cloud Identity Services ask.
	BasicForm BasicEncoding = "form"
	// BasicRaw leaves both as they are, as XSUAA (UAA) expects: it takes a
	// "+" of an encoded secret literally and answers 401.
	BasicRaw BasicEncoding = "raw"
)

// SecretBasic sends the secret in the Authorization header
// (client_secret_basic, RFC 6749 section 2.3.1).
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

// Certificate is the proof by mutual TLS (RFC 8705 section 2): the handshake
// carries it, and client_id in the body says whose it is. Its Authenticate only
// keeps an expired certificate from being sent, which the server would count as
// a failed logon.
type Certificate struct {
	NotBefore, NotAfter time.Time
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Authenticate implements [Authenticator]. Its error is [ErrCertificateExpired].
func (a Certificate) Authenticate(context.Context, url.Values, http.Header) error {
	now := wallClock(a.Now)()
	if now.Before(a.NotBefore) || now.After(a.NotAfter) {
		return ErrCertificateExpired
	}
	return nil
}

// wallClock strips the monotonic reading: it stops while a Lambda function is
// frozen.
func wallClock(now func() time.Time) func() time.Time {
	if now == nil {
		now = time.Now
	}
	return func() time.Time { return now().Round(0) }
}
