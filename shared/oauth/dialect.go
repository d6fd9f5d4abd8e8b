package oauth

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"time"
)

// Dialect is how the requests of a client differ from RFC 6749, because its server wants
// that. The zero value follows the RFC.
type Dialect struct {
	// Headers are further request headers by their canonical names, such as the key of an
	// API gateway. Their values are secrets.
	Headers map[string]Secret
	// OmitClientID leaves client_id out of the body. Okta refuses it beside HTTP Basic or an
	// assertion.
	OmitClientID bool
	// GrantType is grant_type; empty: client_credentials. SAP Ariba calls this grant
	// openapi_2lo, Zoom account_credentials.
	GrantType string
	// JSON sends the parameters as a JSON object instead of a form.
	JSON bool
	// AttemptTimeout limits one attempt; zero: 5 seconds.
	AttemptTimeout time.Duration
	// AssumeLifetime is the lifetime of a token for which the server names none (Salesforce);
	// zero: such a token has no expiry.
	AssumeLifetime time.Duration
}

func (d Dialect) addHeaders(header http.Header) {
	for name, value := range d.Headers {
		header.Set(name, value.Expose())
	}
	if d.JSON {
		header.Set("Content-Type", "application/json")
	}
}

// secrets returns the values of the headers, which an error must not repeat.
func (d Dialect) secrets() []string {
	var list []string
	for _, value := range d.Headers {
		list = append(list, value.Expose())
	}
	return list
}

// encode returns the body of a request. A parameter with several values, which only resource
// can be, is a list in JSON.
func (d Dialect) encode(form url.Values) string {
	if !d.JSON {
		return form.Encode()
	}
	members := map[string]any{}
	for name, values := range form {
		if members[name] = values; len(values) == 1 {
			members[name] = values[0]
		}
	}
	return string(encode(members))
}

// TLSOptions loosen TLS for old servers and middleboxes. The zero value loosens nothing.
type TLSOptions struct {
	// AtMost12 offers no TLS 1.3.
	AtMost12 bool
	// RSAKeyExchange also offers the cipher suites without forward secrecy, after all others.
	RSAKeyExchange bool
	// NoPostQuantum offers no post-quantum key exchange, which makes a ClientHello too large
	// for one packet.
	NoPostQuantum bool
}

// apply changes cfg, which it returns.
func (o TLSOptions) apply(cfg *tls.Config) *tls.Config {
	if o.AtMost12 {
		cfg.MaxVersion = tls.VersionTLS12
	}
	if o.RSAKeyExchange {
		for _, suite := range tls.CipherSuites() {
			cfg.CipherSuites = append(cfg.CipherSuites, suite.ID)
		}
		cfg.CipherSuites = append(cfg.CipherSuites, tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA)
	}
	if o.NoPostQuantum {
		cfg.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}
	}
	return cfg
}
