package token

import (
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/strictjson"
)

const (
	// MaxBody is the largest request body, in bytes.
	MaxBody = 8 << 10

	maxParameters = 64
	maxDepth      = 8
	maxValue      = 4 << 10
)

// parameters are the members of a request, before they mean anything. Only
// resource may have several values.
type parameters map[string][]string

// ParseForm reads an application/x-www-form-urlencoded body for the client of
// the given name. Unlike an authorization server (RFC 6749 section 3.2) it
// refuses parameters that it doesn't know: a mistyped resource would otherwise
// bring a broader token. A parameter without a value counts as left out. The
// error is an [*Error].
func ParseForm(client string, body []byte) (Request, error) {
	p := make(parameters)
	pairs := 0
	for pair := range strings.SplitSeq(string(body), "&") {
		if pair == "" {
			continue
		}
		if pairs++; pairs > maxParameters {
			return Request{}, malformed("the form has more than 64 parameters")
		}
		if err := p.addPair(pair); err != nil {
			return Request{}, err
		}
	}
	return p.request(client)
}

func (p parameters) addPair(pair string) error {
	rawName, rawValue, _ := strings.Cut(pair, "=")
	name, err := url.QueryUnescape(rawName)
	if err != nil || strings.Contains(pair, ";") {
		return malformed("the body is not a form")
	}
	value, err := url.QueryUnescape(rawValue)
	if err != nil || !utf8.ValidString(value) {
		return malformed("the body is not a form")
	}
	if value == "" && name == "resource" {
		return nil
	}
	if _, repeated := p[name]; repeated && name != "resource" {
		return repeatedParameter(name)
	}
	return p.add(name, value)
}

func repeatedParameter(name string) error {
	return malformed(strictjson.Quote(name) + " is given twice")
}

func (p parameters) add(name string, values ...string) error {
	if name == "" || len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool { return notIDByte(r) && r != '.' }) {
		return malformed("a parameter's name is not valid")
	}
	p[name] = append(p[name], values...)
	return nil
}

// ParseJSON reads a JSON body for the client of the given name; an empty name
// means that the body must give it as client. The error is an [*Error].
func ParseJSON(client string, body []byte) (Request, error) {
	members, err := strictjson.Object(body, strictjson.Limits{Depth: maxDepth, Members: maxParameters})
	var duplicate *strictjson.DuplicateError
	switch {
	case errors.As(err, &duplicate):
		return Request{}, repeatedParameter(duplicate.Name)
	case err != nil:
		return Request{}, malformed("the body is " + err.Error())
	}
	p := make(parameters)
	for name, raw := range members {
		if err := p.addMember(name, raw); err != nil {
			return Request{}, err
		}
	}
	return p.request(client)
}

func (p parameters) addMember(name string, raw json.RawMessage) error {
	value, ok := strictjson.String(raw)
	switch name {
	case "resource":
		list, ok := strictjson.Strings(raw)
		if !ok {
			return malformed("resource must be a string or a list of strings")
		}
		if raw[0] == '[' && slices.Contains(list, "") {
			return &Error{Kind: InvalidTarget, Description: "resource holds an empty string"}
		}
		return p.add(name, list...)
	case "min_ttl":
		if ok || !isInteger(string(raw)) {
			return malformed("min_ttl must be a whole number of seconds")
		}
		return p.add(name, string(raw))
	case "dry_run":
		if text := string(raw); text != "true" && text != "false" {
			return malformed("dry_run must be true or false")
		}
		return p.add(name, string(raw))
	}
	if !ok {
		return malformed(strictjson.Wrongly(name, "a string").Error())
	}
	return p.add(name, value)
}

func isInteger(s string) bool {
	return s == "0" || len(s) <= 6 && s != "" && s[0] != '0' && strings.Trim(s, "0123456789") == ""
}

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

// request gives the parameters their meaning.
func (p parameters) request(client string) (Request, error) {
	r := Request{Client: client}
	// Sorted, so that of two problems always the same one is reported.
	names := make([]string, 0, len(p))
	for name := range p {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if name == "resource" {
			continue
		}
		if value := p[name][0]; value != "" {
			if err := r.set(name, value); err != nil {
				return Request{}, err
			}
		}
	}
	if err := r.setResource(p["resource"]); err != nil {
		return Request{}, err
	}
	switch {
	case !registry.ValidName(r.Client):
		return Request{}, malformed("client is not a valid client name")
	case r.Claim != "" && r.choosesToken():
		return Request{}, malformed("claim stands for all that was ordered with it: send it alone, or with min_ttl, rejected or dry_run")
	}
	return r, nil
}

// choosesToken reports whether the request says which of the client's tokens it wants.
func (r *Request) choosesToken() bool {
	return len(r.Scope) > 0 || len(r.Resource) > 0 || r.Audience != "" || r.TokenFormat != "" || r.AppTID != "" || len(r.Parameters) > 0
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
			return &Error{Kind: UnsupportedGrant, Description: "grant_type must be client_credentials"}
		}
	case "client", "client_id":
		if r.Client != "" && value != r.Client {
			return malformed(name + " differs from the client of the request")
		}
		r.Client = value
	case "scope":
		scope, err := parseScope(value)
		r.Scope = scope
		return err
	case "audience":
		if len(value) > maxTargetBytes {
			return malformed("audience is too long")
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
			return malformed("token_format must be jwt or opaque")
		}
		r.TokenFormat = value
	case name == "app_tid":
		if len(value) > 64 || strings.ContainsFunc(value, notIDByte) {
			return malformed("app_tid is not an identifier")
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
			return malformed("dry_run must be true or false")
		}
	case forbidden(name):
		return malformed(name + " must not be sent")
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
		return malformed("min_ttl must be a whole number of seconds from 0 to 86400")
	}
	r.MinTTL = time.Duration(seconds) * time.Second
	return nil
}

func (r *Request) setRejected(value string) error {
	value = strings.ToLower(value)
	if len(value) != fingerprintBytes || strings.Trim(value, "0123456789abcdef") != "" {
		return malformed("rejected must be the SHA-256 of a token in hex")
	}
	r.Rejected = value
	return nil
}

// badValue keeps scope's own error code.
func (r *Request) badValue(name, problem string) error {
	if name == "scope" {
		return &Error{Kind: InvalidScope, Description: "scope " + problem}
	}
	return malformed(strictjson.Quote(name) + " " + problem)
}
