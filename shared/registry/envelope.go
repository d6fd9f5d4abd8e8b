package registry

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// maxEnvelopes is the greatest number of envelopes around a document. Real documents have
// three: VCAP_SERVICES, credentials, uaa.
const maxEnvelopes = 6

// readDocument reads a document by the member that marks its format. It returns nil if a
// problem leaves no document.
func readDocument(o object, envelopes int) *document {
	if envelopes > maxEnvelopes {
		o.report.add("the document", "has too many envelopes")
		return nil
	}
	switch mark := findMark(o); mark {
	case "client_id":
		return readNative(o)
	case "clientid":
		return readServiceKey(o)
	case "service_key":
		return readWrapped(o, envelopes)
	case "credentials", "uaa":
		refuseDefaults(o, mark)
		return readChild(o, mark, envelopes)
	case "VCAP_SERVICES":
		return readBindings(o, envelopes)
	}
	return nil
}

// findMark returns the member that marks the format; empty if there is none. Two marks are a
// problem, so that the order of the search never decides.
func findMark(o object) string {
	var found []string
	for _, mark := range []string{"client_id", "clientid", "service_key", "credentials", "uaa", "VCAP_SERVICES"} {
		if o.given(mark) {
			found = append(found, mark)
		}
	}
	switch {
	case len(found) == 1:
		return found[0]
	case len(found) > 1:
		o.report.add(o.path+found[0], "and "+o.path+found[1]+" are marks of two formats: a document has one")
	case o.given("token_endpoint"), o.given("issuer"), o.given("client_secret"):
		return "client_id" // which check reports as missing
	case o.given("clientsecret"):
		return "clientid"
	case isBindings(o):
		return "VCAP_SERVICES"
	default:
		o.report.add(cmp.Or(strings.TrimSuffix(o.path, "."), "the document"),
			"has none of the members client_id, clientid, service_key, credentials, uaa, VCAP_SERVICES that mark a format")
	}
	return ""
}

func readChild(o object, name string, envelopes int) *document {
	inner, ok := o.child(name)
	if !ok {
		return nil
	}
	return readDocument(inner, envelopes+1)
}

// readWrapped reads a service key with native members beside it.
func readWrapped(o object, envelopes int) *document {
	outer := readNative(o)
	for _, name := range []string{"token_endpoint", "issuer"} {
		if o.given(name) {
			o.report.add(o.path+name, "must not be given beside service_key, which says it")
		}
	}
	inner := readChild(o, "service_key", envelopes)
	if inner == nil {
		return nil
	}
	if !inner.isServiceKey() {
		o.report.add(o.path+"service_key", "must hold a key of the service identity or xsuaa")
		return nil
	}
	inner.mergeNative(outer, o.report)
	return inner
}

// refuseDefaults reports native members beside credentials, because they would have no
// effect.
func refuseDefaults(o object, mark string) {
	for _, name := range slices.Sorted(maps.Keys(o.members)) {
		if mark == "credentials" && isNative(name) {
			o.report.add(o.path+name, "has no effect beside credentials: name the key service_key")
		}
	}
}

// isBindings reports whether an object without marks looks like the value of VCAP_SERVICES:
// lists by service label, and nothing else.
func isBindings(o object) bool {
	for _, raw := range o.members {
		if raw[0] != '[' {
			return false
		}
	}
	return len(o.members) > 0
}

// readBindings reads VCAP_SERVICES. It must hold exactly one binding of the services identity
// and xsuaa, or else exactly one whose credentials look like theirs.
func readBindings(o object, envelopes int) *document {
	if o.given("VCAP_SERVICES") {
		inner, ok := o.child("VCAP_SERVICES")
		if !ok {
			return nil
		}
		o = inner
	}
	var labelled, similar []object
	for _, label := range slices.Sorted(maps.Keys(o.members)) {
		for _, credentials := range bindings(o, label) {
			if label == "identity" || label == "xsuaa" {
				labelled = append(labelled, credentials)
			} else if credentials.given("clientid") || credentials.given("client_id") || credentials.given("uaa") {
				similar = append(similar, credentials)
			}
		}
	}
	if len(labelled) == 0 {
		labelled = similar
	}
	if len(labelled) != 1 {
		o.report.add("VCAP_SERVICES", "must hold exactly one binding of the service identity or xsuaa")
		return nil
	}
	return readDocument(labelled[0], envelopes+1)
}

// bindings returns the credentials of a service's bindings.
func bindings(o object, label string) []object {
	var list []json.RawMessage
	if json.Unmarshal(o.members[label], &list) != nil {
		o.report.add("VCAP_SERVICES", "must hold a list of bindings for each service")
		return nil
	}
	var found []object
	for _, raw := range list {
		binding, ok := o.open(raw, "binding")
		if !ok || !binding.given("credentials") {
			continue
		}
		// The path is "credentials" alone: a label is the document's text and must not appear
		// in a problem.
		binding.path = ""
		if credentials, ok := binding.child("credentials"); ok {
			found = append(found, credentials)
		}
	}
	return found
}
