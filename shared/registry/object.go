package registry

import (
	"crypto/x509"
	"encoding/json"
	"slices"
	"strings"

	"tokenvendor/shared/strictjson"
)

const (
	// maxDocument is what Secrets Manager stores in one secret, in bytes.
	maxDocument = 64 << 10
	// maxLine is the longest identifier or URL, in bytes.
	maxLine = 2048
	// maxSecret is the longest secret or password, in bytes.
	maxSecret = 4096
)

// report collects the problems of one document.
type report struct {
	problems []string
	leaf     *x509.Certificate // of the document; nil: none could be read
}

// add reports a problem of a member. Neither text may hold a value of the document.
func (r *report) add(member, problem string) {
	r.problems = append(r.problems, member+" "+problem)
}

// missing reports that a member is missing, unless another problem of it is reported
// already.
func (r *report) missing(member, more string) {
	if !r.has(member) {
		r.add(member, "is missing"+more)
	}
}

// has reports whether a problem of a member is reported already.
func (r *report) has(member string) bool {
	return slices.ContainsFunc(r.problems, func(problem string) bool { return strings.HasPrefix(problem, member+" ") })
}

func (r *report) empty() bool { return len(r.problems) == 0 }

// object is one JSON object of a document. Its methods read members and report those of a
// wrong type.
type object struct {
	members map[string]json.RawMessage
	// path is the prefix of members' names in problems, such as "service_key."; empty for the
	// whole document.
	path string
	// nullIsAbsent is set for SAP service keys.
	nullIsAbsent bool
	report       *report
}

// text is a string member. name is its name in problems. An empty value counts as absent,
// because empty secrets beside a certificate are common.
type text struct{ name, value string }

func (t text) given() bool { return t.value != "" }

// documentLimits allow a VCAP_SERVICES document in an envelope.
func documentLimits() strictjson.Limits { return strictjson.Limits{Depth: 16, Members: 2048} }

// given reports whether a member is present and not empty.
func (o object) given(name string) bool {
	switch string(o.members[name]) {
	case "", `""`, "null":
		return false
	}
	return true
}

// text reads a string member of at most limit bytes.
func (o object) text(name string, limit int) text {
	raw, ok := o.members[name]
	if !ok || o.nullIsAbsent && string(raw) == "null" {
		return text{name: o.path + name}
	}
	return o.report.text(raw, o.path+name, limit)
}

// text reads raw as a string.
func (r *report) text(raw json.RawMessage, name string, limit int) text {
	value, ok := strictjson.String(raw)
	switch {
	case !ok:
		r.add(name, "must be a string")
	case len(value) > limit:
		r.add(name, "is too long")
	default:
		return text{name, value}
	}
	return text{name: name}
}

// line reads a text of at most limit bytes without control characters.
func (o object) line(name string, limit int) text {
	return o.report.line(o.text(name, limit))
}

// line reports control characters in t, which it returns.
func (r *report) line(t text) text {
	if strings.ContainsFunc(t.value, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		r.add(t.name, "must not hold control characters")
	}
	return t
}

// givenAny reports whether one of several members is given.
func (o object) givenAny(names ...string) bool { return slices.ContainsFunc(names, o.given) }

// first reads the first of several members that is given, and the first one if none is.
func (o object) first(limit int, names ...string) text {
	return o.text(names[max(slices.IndexFunc(names, o.given), 0)], limit)
}

// oneOf reads the first of several members that is given. It reports members with
// different values.
func (o object) oneOf(limit int, names ...string) text {
	found := o.text(names[0], limit)
	for _, name := range names[1:] {
		t := o.text(name, limit)
		if t.given() && found.given() && t.value != found.value {
			o.report.add(found.name, "and "+t.name+" are both given")
		}
		if !found.given() && t.given() {
			found = t
		}
	}
	return found
}

// choice reads a text that is one of values; empty if it is absent or another.
func (o object) choice(name string, values ...string) string {
	t := o.text(name, maxLine)
	if !t.given() || slices.Contains(values, t.value) {
		return t.value
	}
	o.report.add(t.name, "must be "+strings.Join(values[:len(values)-1], ", ")+" or "+values[len(values)-1])
	return ""
}

// bare returns a number or a boolean as it is written, also if it is in a string: the
// key/value tab of AWS's console and Terraform's maps make a string of each value. Empty: it
// is absent.
func (o object) bare(name string) string {
	raw := o.members[name]
	if quoted, ok := strictjson.String(raw); ok {
		return quoted
	}
	return string(raw)
}

// strings reads a member that is a string or a list of strings, which may be JSON in a
// string; see [object.bare]. It leaves empty strings out.
func (o object) strings(name string) []string {
	raw, ok := o.members[name]
	if !ok {
		return nil
	}
	list, ok := strictjson.Strings(raw)
	if len(list) == 1 && strings.HasPrefix(list[0], "[") && json.Valid([]byte(list[0])) {
		list, ok = strictjson.Strings(json.RawMessage(list[0]))
	}
	if !ok {
		o.report.add(o.path+name, "must be a string or a list of strings")
	}
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}

// child reads a member that is an object.
func (o object) child(name string) (object, bool) {
	return o.open(o.members[name], o.path+name)
}

// open reads raw, whose name in problems is path, as an object. It may be JSON in a string:
// see [object.bare], and the files of a service binding in Kubernetes.
func (o object) open(raw json.RawMessage, path string) (object, bool) {
	quoted, inString := strictjson.String(raw)
	inString = inString && strings.HasPrefix(strings.TrimSpace(quoted), "{")
	if inString {
		raw = json.RawMessage(quoted)
	}
	members, err := strictjson.Object(raw, documentLimits())
	switch {
	case err != nil && inString:
		o.report.add(path, strictjson.Problem(err, raw))
		return object{}, false
	case err != nil && isObjectInBase64(raw):
		o.report.add(path, "looks like base64: decode it (base64 -d)")
		return object{}, false
	case err != nil:
		o.report.add(path, "must be an object")
		return object{}, false
	}
	return object{members: members, path: path + ".", report: o.report}, true
}
