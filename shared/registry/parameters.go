package registry

import (
	"strings"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/strictjson"
)

// maxParameters is the greatest number of parameters, allow_parameters and resource.
const maxParameters = 64

const parameterGrammar = "has a name that is not made of 1 to 64 of the characters a-z A-Z 0-9 _ . -"

// readParameters reads parameters: further form parameters with fixed values. Empty values
// are kept, because they remove those of a service key.
func readParameters(o object) map[string]string {
	parameters := map[string]string{}
	if !o.given("parameters") {
		return parameters
	}
	inner, ok := o.child("parameters")
	if !ok {
		return parameters
	}
	if len(inner.members) > maxParameters {
		o.report.add(o.path+"parameters", "has too many members")
		return parameters
	}
	for name, raw := range inner.members {
		member := inner.path + strictjson.Quote(name)
		switch {
		case !validParameter(name):
			o.report.add(o.path+"parameters", parameterGrammar)
		case isReserved(name):
			o.report.add(inner.path+strings.ToLower(name), "must not be given")
		case hasMember(name):
			o.report.add(member, "has a member of its own in the document")
		default:
			parameters[name] = o.report.line(o.report.text(raw, member, maxSecret)).value
		}
	}
	return parameters
}

// readAllow reads allow_parameters: what a caller may set beyond the defaults.
func readAllow(o object) map[string]bool {
	list := o.strings("allow_parameters")
	switch {
	case len(list) == 0:
		return nil
	case len(list) > maxParameters:
		o.report.add(o.path+"allow_parameters", "has too many values")
		return nil
	}
	allow := make(map[string]bool)
	for _, name := range list {
		switch {
		case !validParameter(name):
			o.report.add(o.path+"allow_parameters", parameterGrammar)
		case isReserved(name):
			o.report.add(o.path+"allow_parameters", "must not hold "+strings.ToLower(name))
		}
		allow[name] = true
	}
	return allow
}

func validParameter(name string) bool {
	bad := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '.' && r != '-'
	}
	return name != "" && len(name) <= 64 && !strings.ContainsFunc(name, bad)
}

// isReserved reports whether a document must not set a parameter, because it chooses the
// grant or belongs to the vendor's own requests.
func isReserved(name string) bool {
	switch strings.ToLower(name) {
	case "client", "requests", "min_ttl", "rejected":
		return true
	}
	return oauth.ChoosesGrant(name)
}

// hasMember reports whether a parameter is set by a member of its own.
func hasMember(name string) bool {
	switch strings.ToLower(name) {
	case "scope", "resource", "audience", "token_format":
		return true
	}
	return false
}
