package registry

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"tokenvendor/shared/strictjson"
)

// maxEnvelopes is the greatest number of envelopes around a document. Real documents have
// three: VCAP_SERVICES, credentials, and uaa or oauth.
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
		return readServiceKey(o, lowerCase())
	case "clientId":
		return readCamelCase(o)
	case "consumerKey":
		return readSalesforce(o)
	case "service_key":
		return readWrapped(o, envelopes)
	case "credentials", "uaa", "oauth", "oa2":
		refuseDefaults(o, mark)
		return readChild(o, mark, envelopes)
	case "messaging":
		return readMesh(o, envelopes)
	case "VCAP_SERVICES":
		return readBindings(o, envelopes)
	case fileMark:
		inner, ok := o.open(o.members[onlyFile(o)], o.path+fileMark)
		if !ok {
			return nil
		}
		return readDocument(inner, envelopes+1)
	}
	return nil
}

// marks are the members that mark a format, one line for each rank. Those of the second rank
// count if there is none of the first, because a service key may have members of these names
// that say something else.
func marks() [][]string {
	return [][]string{
		{"client_id", "clientid", "service_key", "credentials", "uaa", "VCAP_SERVICES"},
		{"clientId", "consumerKey", "oauth", "oa2", "messaging"},
	}
}

// findMark returns the member that marks the format; empty if there is none. Two marks are a
// problem, so that the order of the search never decides.
func findMark(o object) string {
	for _, rank := range marks() {
		found := slices.DeleteFunc(rank, func(mark string) bool {
			return !o.given(mark) || mark == "messaging" && len(meshClients(o)) == 0
		})
		switch {
		case len(found) == 1:
			return found[0]
		case len(found) > 1:
			o.report.add(o.path+found[0], "and "+o.path+found[1]+" are marks of two formats: a document has one")
			return ""
		}
	}
	if mark := impliedMark(o); mark != "" {
		return mark
	}
	problem := "has none of the members " + strings.Join(slices.Concat(marks()...), ", ") + " that mark a format"
	switch {
	case string(o.members["kind"]) == `"Secret"`:
		problem = isManifest
	case slices.ContainsFunc(slices.Collect(maps.Values(o.members)), isObjectInBase64):
		problem = "has a value that looks like base64: decode it (base64 -d)"
	}
	o.report.add(cmp.Or(strings.TrimSuffix(o.path, "."), "the document"), problem)
	return ""
}

// isManifest is the problem of a Kubernetes Secret. The command makes a document of any: of one member for
// each member of a service key, and of a key in one file.
const isManifest = "is a Kubernetes Secret, whose data is base64: store what this prints: kubectl get secret NAME -o json | jq '.data|map_values(@base64d)'"

func isObjectInBase64(raw json.RawMessage) bool {
	text, ok := strictjson.String(raw)
	return ok && strictjson.IsBase64(text, "{")
}

// impliedMark returns the mark of a format that other members show; empty if they show none.
// check reports a mark that is missing.
func impliedMark(o object) string {
	switch {
	case len(meshClients(o)) > 0:
		return "messaging"
	case o.givenAny("token_endpoint", "issuer", "client_secret"):
		return "client_id"
	case o.given("clientsecret"):
		return "clientid"
	case o.given("clientSecret"):
		return "clientId"
	case o.given("consumerSecret"):
		return "consumerKey"
	case isBindings(o):
		return "VCAP_SERVICES"
	case onlyFile(o) != "":
		return fileMark
	}
	return ""
}

// fileMark stands for the member of [onlyFile], whose name must not be in a problem.
const fileMark = "file"

// onlyFile returns the only member that is a JSON object in a string; empty if there is none
// or more than one. The SAP BTP service operator for Kubernetes writes a whole service key
// into one file of a name that its user chooses (secretKey, secretRootKey); its file .metadata
// only describes the others.
func onlyFile(o object) string {
	found := ""
	for name, raw := range o.members {
		text, ok := strictjson.String(raw)
		if !ok || name == ".metadata" || !strings.HasPrefix(strings.TrimSpace(text), "{") {
			continue
		}
		if found != "" {
			return ""
		}
		found = name
	}
	return found
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
		o.report.add(o.path+"service_key", "must hold a key of a service, and no native document")
		return nil
	}
	inner.mergeNative(outer, o.report)
	return inner
}

// refuseDefaults reports native members beside an envelope, because they would have no
// effect. SAP's own keys have members beside uaa.
func refuseDefaults(o object, mark string) {
	for _, name := range slices.Sorted(maps.Keys(o.members)) {
		if mark != "uaa" && isNative(name) {
			o.report.add(o.path+name, "has no effect beside "+mark+": name the key service_key")
		}
	}
}

// meshClients returns the members oa2 of a key of SAP Event Mesh, which has one in each
// element of messaging, one for a protocol, and of management.
func meshClients(o object) []object {
	var found []object
	quiet := object{report: &report{}}
	for _, name := range []string{"messaging", "management"} {
		raw := o.members[name]
		// The file of a Kubernetes binding is JSON in a string.
		if text, ok := strictjson.String(raw); ok {
			raw = json.RawMessage(text)
		}
		var list []json.RawMessage
		if json.Unmarshal(raw, &list) != nil {
			continue
		}
		for _, element := range list {
			if inner, ok := quiet.open(element, ""); ok && inner.given("oa2") {
				found = append(found, object{members: inner.members, path: o.path + name + ".", report: o.report})
			}
		}
	}
	return found
}

// readMesh reads a key of SAP Event Mesh. The client in it is the same for each protocol.
func readMesh(o object, envelopes int) *document {
	clients := meshClients(o)
	first, ok := clients[0].child("oa2")
	if !ok {
		return nil
	}
	for _, other := range clients[1:] {
		inner, ok := other.child("oa2")
		if !ok {
			return nil
		}
		for _, name := range []string{"clientid", "clientsecret", "tokenendpoint", "certificate", "key"} {
			if !bytes.Equal(inner.members[name], first.members[name]) {
				o.report.add(inner.path+name, "is not the same in each element of messaging and management: a document has one client")
				return nil
			}
		}
	}
	return readDocument(first, envelopes+1)
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
	// The second group is that of the marks of the second rank.
	var labelled, similar, other []object
	for _, label := range slices.Sorted(maps.Keys(o.members)) {
		for _, credentials := range bindings(o, label) {
			if label == "identity" || label == "xsuaa" {
				labelled = append(labelled, credentials)
			} else if credentials.givenAny("clientid", "client_id", "uaa") {
				similar = append(similar, credentials)
			} else if credentials.givenAny("clientId", "oauth", "oa2") || len(meshClients(credentials)) > 0 {
				other = append(other, credentials)
			}
		}
	}
	for _, group := range [][]object{similar, other} {
		if len(labelled) == 0 {
			labelled = group
		}
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
