package registry

import (
	"slices"

	"tokenvendor/shared/strictjson"
)

const (
	// maxLine bounds identifiers, URLs and the like.
	maxLine = 2048
	// maxSecret bounds secrets and passwords.
	maxSecret = 4096
)

// nativeMembers are the members of a native document: the registered names of
// RFC 7591 and RFC 8414 where there is one. private_key_password opens an
// encrypted private_key.
func nativeMembers() []string {
	return []string{
		"token_endpoint", "issuer", "client_id", "client_secret", "token_endpoint_auth_method",
		"certificate", "private_key", "private_key_password", "pkcs12", "pkcs12_password",
		"kid", "alg", "assertion_audience", "assertion_type_header", "assertion_lifetime",
		"basic_encoding", "ca_certificates", "scope", "resource", "audience", "token_format",
		"parameters", "allow_parameters", "certificate_bound", "kms_key_id", "shadow",
	}
}

func isNative(name string) bool { return slices.Contains(nativeMembers(), name) }

// readNative reads a native document. A member that is not known is an error: a
// mistyped "audience" would otherwise yield a broader token.
func readNative(o object) *document {
	for name := range o.members {
		if !isNative(name) && name != "service_key" {
			o.report.add(o.path+strictjson.Quote(name), "is not known here"+hint(name))
		}
	}
	return &document{
		id:         o.line("client_id", maxLine),
		credential: readCredential(o),
		place:      readPlace(o),
		options:    readOptions(o),
	}
}

func readCredential(o object) credential {
	return credential{
		secret:         o.text("client_secret", maxSecret),
		certificate:    o.text("certificate", maxDocument),
		key:            o.text("private_key", maxDocument),
		keyPassword:    o.oneOfPasswords(),
		pkcs12:         o.text("pkcs12", maxDocument),
		pkcs12Password: o.text("pkcs12_password", maxSecret),
		keyAlias:       o.text("kms_key_id", maxLine),
		method:         o.line("token_endpoint_auth_method", maxLine),
	}
}

func readPlace(o object) place {
	return place{endpoint: o.text("token_endpoint", maxLine), issuer: o.text("issuer", maxLine)}
}

// oneOfPasswords reads the password of private_key. Whoever has one password
// only may have called it pkcs12_password.
func (o object) oneOfPasswords() text {
	password := o.text("private_key_password", maxSecret)
	if !password.given() && !o.given("pkcs12") {
		password.value = o.text("pkcs12_password", maxSecret).value
	}
	return password
}

// hint helps with names that other tools use for the same thing.
func hint(name string) string {
	meant := map[string]string{
		"token_url": "token_endpoint", "token_uri": "token_endpoint", "url": "issuer or token_endpoint",
		"key": "private_key", "cert": "certificate", "secret": "client_secret", "scopes": "scope",
		"ca_certificate": "ca_certificates", "password": "private_key_password or pkcs12_password",
	}[name]
	if meant == "" {
		return ""
	}
	return ": " + meant + " is meant?"
}
