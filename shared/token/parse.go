package token

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/strictjson"
)

const (
	// MaxBody is the largest request body, in bytes.
	MaxBody = 8 << 10

	maxParameters = 64
	maxDepth      = 8
)

// parameters are the members of a request, before they mean anything. Only
// resource may have several values.
type parameters map[string][]string

// ParseForm reads an application/x-www-form-urlencoded body. If r has a Client already, the
// body must not name another one. Unlike an authorization server (RFC 6749 section 3.2),
// ParseForm refuses parameters that it does not know: a mistyped resource would otherwise
// bring a broader token. A parameter without a value counts as left out. The error is a
// [*fault.Error], and r is then as it was.
func (r *Request) ParseForm(body []byte) error {
	if bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte{'{'}) {
		return fault.Invalid("the body is JSON: send Content-Type: application/json") // curl -d sends a form
	}
	p := make(parameters)
	pairs := 0
	for pair := range strings.SplitSeq(string(body), "&") {
		if pair == "" {
			continue
		}
		if pairs++; pairs > maxParameters {
			return fault.Invalid("the form has more than 64 parameters")
		}
		if err := p.addPair(pair); err != nil {
			return err
		}
	}
	return r.apply(p)
}

func (p parameters) addPair(pair string) error {
	rawName, rawValue, _ := strings.Cut(pair, "=")
	name, nameErr := url.QueryUnescape(rawName)
	value, valueErr := url.QueryUnescape(rawValue)
	switch {
	case strings.Contains(pair, ";"):
		return fault.Invalid("the body is not a form: it holds a semicolon that is not escaped (%3B)")
	case nameErr != nil || valueErr != nil:
		return fault.Invalid("the body is not a form: two hexadecimal digits must follow each %")
	case !utf8.ValidString(value):
		return fault.Invalid("the body is not a form: a value is not UTF-8")
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
	return fault.Invalid(strictjson.Quote(name) + " is given twice")
}

func (p parameters) add(name string, values ...string) error {
	if name == "" || len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool { return notIDByte(r) && r != '.' }) {
		return fault.Invalid("a parameter's name is not valid: it has 1 to 64 of the characters a-z A-Z 0-9 . _ -")
	}
	p[name] = append(p[name], values...)
	return nil
}

// ParseJSON reads a JSON body, like [Request.ParseForm]. If r has no Client, the body must
// name it as client.
func (r *Request) ParseJSON(body []byte) error {
	if len(body) > MaxBody {
		return fault.New(fault.TooLarge, "the request is larger than 8 KiB")
	}
	members, err := strictjson.Object(body, strictjson.Limits{Depth: maxDepth, Members: maxParameters})
	var duplicate *strictjson.DuplicateError
	switch {
	case errors.As(err, &duplicate):
		return repeatedParameter(duplicate.Name)
	case err != nil && isForm(body):
		return fault.Invalid("the body is a form: send Content-Type: application/x-www-form-urlencoded")
	case err != nil:
		return fault.Invalid("the body " + strictjson.Problem(err, body))
	case r.Client == "" && members["client"] == nil && members["client_id"] == nil:
		return missingClient(members)
	}
	p := make(parameters)
	// Sorted, so that of two problems always the same one is reported.
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if err := p.addMember(name, members[name]); err != nil {
			return err
		}
	}
	return r.apply(p)
}

// isForm reports whether a text that is not JSON begins like a form.
func isForm(body []byte) bool {
	name, _, found := strings.Cut(string(body), "=")
	return found && name != "" && !strings.ContainsFunc(name, notIDByte)
}

// missingClient is the error of a request that names no client. It names an unknown member too,
// because that may be a mistyped client.
func missingClient(members map[string]json.RawMessage) error {
	problem := "client is missing"
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if !known(name) {
			return fault.Invalid(problem + ", and " + strictjson.Quote(name) + " is not a parameter" + meant(name))
		}
	}
	return fault.Invalid(problem)
}

func (p parameters) addMember(name string, raw json.RawMessage) error {
	value, ok := strictjson.String(raw)
	switch name {
	case "resource":
		list, ok := strictjson.Strings(raw)
		if !ok {
			return fault.Invalid("resource must be a string or a list of strings")
		}
		if raw[0] == '[' && slices.Contains(list, "") {
			return fault.New(fault.InvalidTarget, "resource holds an empty string")
		}
		return p.add(name, list...)
	case "min_ttl":
		if ok || !isInteger(string(raw)) {
			return fault.Invalid("min_ttl must be a whole number of seconds")
		}
		return p.add(name, string(raw))
	case "dry_run":
		if text := string(raw); text != "true" && text != "false" {
			return fault.Invalid("dry_run must be true or false")
		}
		return p.add(name, string(raw))
	}
	if !ok {
		return wrongType(name)
	}
	return p.add(name, value)
}

// wrongType is the error of a member whose value is not a string.
func wrongType(name string) error {
	switch {
	case forbidden(name) && name != "grant_type" && name != "client_id":
		return fault.Invalid(name + " must not be sent")
	case !known(name):
		return fault.Invalid(strictjson.Quote(name) + " is not a parameter; one that the client's document allows must be a string" + meant(name))
	}
	return fault.Invalid(strictjson.Wrongly(name, "a string").Error())
}

// apply gives the parameters their meaning. If it fails, r is as it was.
func (r *Request) apply(p parameters) error {
	next := *r
	// Sorted, so that of two problems always the same one is reported.
	names := make([]string, 0, 8)
	for name := range p {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if name == "resource" || p[name][0] == "" {
			continue
		}
		if err := next.set(name, p[name][0]); err != nil {
			return err
		}
	}
	if err := next.setResource(p["resource"]); err != nil {
		return err
	}
	switch {
	case next.Client == "":
		return fault.Invalid("client is missing")
	case !registry.ValidName(next.Client):
		return fault.Invalid("client is not a valid client name")
	case next.Claim != "" && !next.Ask.IsZero():
		return fault.Invalid("claim stands for all that was ordered with it: send it alone, or with min_ttl, rejected or dry_run")
	}
	*r = next
	return nil
}
