package registry

import (
	"bytes"
	"crypto"
	"encoding/json"
	"maps"
	"slices"

	"tokenvendor/shared/keypair"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/strictjson"
)

const (
	// maxDocument is what Secrets Manager stores in one secret.
	maxDocument = 64 << 10
	// maxEnvelopes bounds how many envelopes may stand around a key. Real ones
	// have three: VCAP_SERVICES, credentials, uaa.
	maxEnvelopes = 6
)

// document is what every format comes down to.
type document struct {
	// name is the client's.
	name       string
	id         text
	credential credential
	place      place
	options    options

	// What follows is found while checking the above.

	method oauth.Method
	pair   keypair.Pair
	signer oauth.Signer
	// public belongs to the key in KMS that signs; nil: none does.
	public crypto.PublicKey
	// tokenEndpoint is empty as long as discovery is to be done.
	tokenEndpoint string
	// audience is the issuer's name, if it has one.
	audience string
}

// parse reads and checks a document as far as that needs no network. It returns
// nil when there are problems that leave nothing to go on with.
func (r *Registry) parse(name string, raw []byte, problems *report) *document {
	// Editors on Windows put a byte order mark there.
	raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
	if len(raw) > maxDocument {
		problems.add("the document", "is larger than 64 KiB")
		return nil
	}
	members, err := strictjson.Object(raw, documentLimits())
	if err != nil {
		problems.add("the document", strictjson.Problem(err))
		return nil
	}
	d := readDocument(object{members: members, report: problems}, 0)
	if d == nil {
		return nil
	}
	d.name = name
	r.check(d, problems)
	if shadow := d.options.shadow; shadow != nil {
		shadow.inherit(d)
		r.check(shadow, problems)
	}
	return d
}

// check finds the problems of a document that need more than one member to be
// seen.
func (r *Registry) check(d *document, problems *report) {
	d.method = d.chooseMethod(problems)
	switch d.method {
	case oauth.ClientSecretPost, oauth.ClientSecretBasic:
		d.credential.checkSecret(problems)
	case oauth.AWSWebIdentity:
		r.checkWebIdentity(d, problems)
	default:
		// Without a method the key is looked at all the same, so that its problems
		// are not reported only after the first are solved.
		d.pair = d.credential.readPair(r.cfg.Now(), problems)
		d.needPair(problems)
	}
	r.checkKeyAlias(d, problems)
	d.checkID(problems)
	d.options.dropEmptyParameters()
	r.checkPlace(d, problems)
}

// readDocument tells the format by its mark and reads it. It returns nil when
// it has noted a problem that leaves no document.
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

// findMark returns the member that marks the format. Two marks are a problem,
// never a matter of which is looked at first.
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
		return "client_id" // which will be reported as missing
	case o.given("clientsecret"):
		return "clientid"
	case isBindings(o):
		return "VCAP_SERVICES"
	default:
		o.report.add(o.self(),
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

// refuseDefaults notes native members beside an envelope, where they would be
// silently without effect.
func refuseDefaults(o object, mark string) {
	for _, name := range slices.Sorted(maps.Keys(o.members)) {
		if mark == "credentials" && isNative(name) {
			o.report.add(o.path+name, "has no effect beside credentials: name the key service_key")
		}
	}
}

// isBindings reports whether an object without marks looks like the value of
// VCAP_SERVICES: lists by service label, and nothing else.
func isBindings(o object) bool {
	for _, raw := range o.members {
		if raw[0] != '[' {
			return false
		}
	}
	return len(o.members) > 0
}

// readBindings reads VCAP_SERVICES and takes the one binding of the services
// identity and xsuaa; when there is none, the one whose credentials look like
// theirs.
func readBindings(o object, envelopes int) *document {
	if o.given("VCAP_SERVICES") {
		inner, ok := o.child("VCAP_SERVICES")
		if !ok {
			return nil
		}
		o = inner
	}
	var labelled, shaped []object
	for _, label := range slices.Sorted(maps.Keys(o.members)) {
		for _, credentials := range bindings(o, label) {
			if label == "identity" || label == "xsuaa" {
				labelled = append(labelled, credentials)
			} else if credentials.given("clientid") || credentials.given("client_id") || credentials.given("uaa") {
				shaped = append(shaped, credentials)
			}
		}
	}
	if len(labelled) == 0 {
		labelled = shaped
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
		// "credentials" names the place well enough; a label is not ours to
		// repeat.
		binding.path = ""
		if credentials, ok := binding.child("credentials"); ok {
			found = append(found, credentials)
		}
	}
	return found
}
