package token

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/strictjson"
)

// forbidden are parameters that a caller must never set, whatever a document
// says: they would choose the credential, the grant or the server.
func forbidden(name string) bool {
	switch name {
	case "token_endpoint", "token_url", "issuer", "url", "jwks_uri",
		"stage", "version_id", "secret_id", "kms_key_id", "caller", "subject":
		return true
	}
	return oauth.ChoosesGrant(name)
}

// known reports whether the vendor gives a parameter a meaning. Any other is for the authorization
// server, if the client's document allows it.
func known(name string) bool {
	var r Request
	_ = r.set(name, "x")
	return name == "resource" || r.Parameters == nil
}

// setResource takes all values at once; a single empty one counts as left out.
func (r *Request) setResource(list []string) (err error) {
	if len(list) == 0 || len(list) == 1 && list[0] == "" {
		return nil
	}
	r.Resource, err = parseResources(list)
	return err
}

// set takes one parameter with a value.
func (r *Request) set(name, value string) error {
	if len(value) > maxValue || strings.ContainsFunc(value, unicode.IsControl) {
		return r.badValue(name, "holds control characters or is too long")
	}
	switch name {
	case "grant_type":
		if value != "client_credentials" {
			return fault.New(fault.UnsupportedGrant, "grant_type must be client_credentials")
		}
	case "client", "client_id":
		if r.Client != "" && value != r.Client {
			return fault.Invalid(name + " differs from the client of the request")
		}
		r.Client = value
	case "scope":
		scope, err := parseScope(value)
		r.Scope = scope
		return err
	case "audience":
		if len(value) > maxTargetBytes {
			return fault.Invalid("audience is too long")
		}
		r.Audience = value
	default:
		return r.setOther(name, value)
	}
	return nil
}

func (r *Request) setOther(name, value string) error {
	switch {
	case name == "token_format":
		if value != "jwt" && value != "opaque" {
			return fault.Invalid("token_format must be jwt or opaque")
		}
		r.TokenFormat = value
	case name == "app_tid":
		if len(value) > 64 || strings.ContainsFunc(value, notIDByte) {
			return fault.Invalid("app_tid is not an identifier")
		}
		r.AppTID = value
	case name == "min_ttl":
		return r.setMinTTL(value)
	case name == "rejected":
		return r.setRejected(value)
	case name == "claim":
		r.Claim = value
	case name == "dry_run":
		if r.DryRun = value == "true"; !r.DryRun && value != "false" {
			return fault.Invalid("dry_run must be true or false")
		}
	case forbidden(name):
		return fault.Invalid(name + " must not be sent")
	default:
		if r.Parameters == nil {
			r.Parameters = make(map[string]string)
		}
		r.Parameters[name] = value
	}
	return nil
}

func (r *Request) setMinTTL(value string) error {
	seconds, err := strconv.Atoi(value)
	if err != nil || !isInteger(value) || seconds > maxTTL {
		return fault.Invalid("min_ttl must be a whole number of seconds from 0 to 86400")
	}
	r.MinTTL = time.Duration(seconds) * time.Second
	return nil
}

func (r *Request) setRejected(value string) error {
	value = strings.ToLower(value)
	if len(value) != fingerprintBytes || strings.Trim(value, "0123456789abcdef") != "" {
		return fault.Invalid("rejected must be the SHA-256 of a token in hex")
	}
	r.Rejected = value
	return nil
}

// badValue keeps scope's own error code.
func (r *Request) badValue(name, problem string) error {
	if name == "scope" {
		return fault.New(fault.InvalidScope, "scope "+problem)
	}
	return fault.Invalid(strictjson.Quote(name) + " " + problem)
}

const (
	maxValue         = 4 << 10 // bytes
	maxScopeBytes    = 4096
	maxScopeTokens   = 64
	maxResources     = 16
	maxTargetBytes   = 2048
	maxTTL           = 86400
	fingerprintBytes = 64
)

// parseScope checks a scope by the grammar of RFC 6749 section 3.3.
func parseScope(text string) ([]string, error) {
	list := strings.Split(text, " ")
	valid := len(text) <= maxScopeBytes && len(list) <= maxScopeTokens
	for _, item := range list {
		valid = valid && item != "" && !strings.ContainsFunc(item, notScopeByte)
	}
	if !valid {
		return nil, fault.New(fault.InvalidScope, "scope is not a list of scope tokens with single spaces between them, or too long")
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

func notScopeByte(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }

// parseResources checks the form of resources. The client's document decides about those that are
// not absolute URIs; see [resolve].
func parseResources(list []string) ([]string, error) {
	if len(list) > maxResources {
		return nil, fault.New(fault.InvalidTarget, "resource is given more than 16 times")
	}
	for _, item := range list {
		if item == "" || len(item) > maxTargetBytes || strings.ContainsFunc(item, notPrintable) {
			return nil, fault.New(fault.InvalidTarget, "resource is empty or too long, or holds characters that are not printable")
		}
	}
	return sortedSet(list), nil
}

func notPrintable(r rune) bool { return !unicode.IsPrint(r) }

// isTarget reports whether a resource is an absolute URI without fragment (RFC 8707 section 2).
func isTarget(item string) bool {
	u, err := url.Parse(item)
	return err == nil && u.Scheme != "" && u.User == nil && !strings.ContainsFunc(item, notURIByte) &&
		!strings.Contains(item, "#") && (u.Host != "" || u.Opaque != "" || u.Path != "")
}

func notURIByte(r rune) bool { return r <= ' ' || r > '~' }

// notIDByte is true for what no identifier of ours or SAP's holds.
func notIDByte(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

func isInteger(s string) bool {
	return s == "0" || len(s) <= 6 && s != "" && s[0] != '0' && strings.Trim(s, "0123456789") == ""
}

func sortedSet(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}
