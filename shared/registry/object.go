package registry

import (
	"encoding/json"
	"strings"

	"tokenvendor/shared/strictjson"
)

// object is one JSON object of a document. It reads members and notes those of
// a wrong type.
type object struct {
	members map[string]json.RawMessage
	// path stands before a member's name in problems: "", "service_key.".
	path string
	// service is set for SAP service keys, where null counts as absent.
	service bool
	report  *report
}

// text is a string member with the name that problems call it by. An empty
// member counts as absent: empty secrets beside a certificate are common.
type text struct{ name, value string }

func (t text) given() bool { return t.value != "" }

// documentLimits allow a VCAP_SERVICES document in its envelope.
func documentLimits() strictjson.Limits { return strictjson.Limits{Depth: 16, Members: 2048} }

// self is how problems call the object itself.
func (o object) self() string {
	if o.path == "" {
		return "the document"
	}
	return strings.TrimSuffix(o.path, ".")
}

// given reports whether a member is there and not empty.
func (o object) given(name string) bool {
	switch string(o.members[name]) {
	case "", `""`, "null":
		return false
	}
	return true
}

// text reads a string member of at most limit bytes.
func (o object) text(name string, limit int) text {
	t := text{name: o.path + name}
	raw, ok := o.members[name]
	if !ok || o.service && string(raw) == "null" {
		return t
	}
	value, ok := strictjson.String(raw)
	switch {
	case !ok:
		o.report.add(t.name, "must be a string")
	case len(value) > limit:
		o.report.add(t.name, "is too long")
	default:
		t.value = value
	}
	return t
}

// line reads a text that has no control characters.
func (o object) line(name string, limit int) text {
	t := o.text(name, limit)
	if strings.ContainsFunc(t.value, isControl) {
		o.report.add(t.name, "must not hold control characters")
	}
	return t
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// oneOf reads the one member of several names that is given.
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

// choice reads a text that is one of values.
func (o object) choice(name string, values ...string) string {
	t := o.text(name, maxLine)
	for _, v := range values {
		if t.value == v {
			return v
		}
	}
	if t.given() {
		o.report.add(t.name, "must be "+strings.Join(values[:len(values)-1], ", ")+" or "+values[len(values)-1])
	}
	return ""
}

// strings reads a member that is a string or a list of strings; empty ones are
// left out.
func (o object) strings(name string) []string {
	raw, ok := o.members[name]
	if !ok {
		return nil
	}
	list, ok := strictjson.Strings(raw)
	if !ok {
		o.report.add(o.path+name, "must be a string or a list of strings")
	}
	kept := list[:0]
	for _, s := range list {
		if s != "" {
			kept = append(kept, s)
		}
	}
	return kept
}

// child reads a member that is an object itself.
func (o object) child(name string) (object, bool) {
	return o.open(o.members[name], o.path+name)
}

// open reads raw, which path names, as an object.
func (o object) open(raw json.RawMessage, path string) (object, bool) {
	members, err := strictjson.Object(raw, documentLimits())
	if err != nil {
		o.report.add(path, "must be an object")
		return object{}, false
	}
	return object{members: members, path: path + ".", report: o.report}, true
}
