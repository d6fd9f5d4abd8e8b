package dynamodb

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Item is one item: its attributes by name.
type Item map[string]Value

// Value is the value of an attribute. Its JSON is DynamoDB's AttributeValue.
type Value struct {
	// Type is S, N, B, BOOL, NULL, SS, NS, BS, L or M; it says which of the
	// following holds the value.
	Type string
	// Text is of S, N and B; a B holds its bytes, not their base64.
	Text string
	// Bool is of BOOL and NULL.
	Bool bool
	// Set is of SS, NS and BS, whose elements are like Text.
	Set []string
	// List is of L.
	List []Value
	// Map is of M.
	Map map[string]Value
}

// String returns a value of type S.
func String(text string) Value { return Value{Type: "S", Text: text} }

// Number returns a value of type N. What is not a number is not looked at, so that
// it can be put past the API.
func Number(text string) Value { return Value{Type: "N", Text: text} }

// Binary returns a value of type B.
func Binary(data []byte) Value { return Value{Type: "B", Text: string(data)} }

// MarshalJSON implements json.Marshaler.
func (v Value) MarshalJSON() ([]byte, error) {
	var member any
	switch v.Type {
	case "S", "N":
		member = v.Text
	case "B":
		member = []byte(v.Text)
	case "BOOL", "NULL":
		member = v.Bool
	case "SS", "NS":
		member = v.Set
	case "BS":
		set := make([][]byte, len(v.Set))
		for i, element := range v.Set {
			set[i] = []byte(element)
		}
		member = set
	case "L":
		member = append([]Value{}, v.List...)
	case "M":
		member = Item(v.Map)
		if v.Map == nil {
			member = Item{}
		}
	}
	return json.Marshal(map[string]any{v.Type: member})
}

// UnmarshalJSON implements json.Unmarshaler. Numbers are taken as they are written
// and checked by [Value.normal].
func (v *Value) UnmarshalJSON(data []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return err
	}
	maps.DeleteFunc(members, func(_ string, raw json.RawMessage) bool { return string(raw) == "null" })
	if len(members) > 1 {
		return invalid("Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes")
	}
	for kind, raw := range members {
		return v.read(kind, raw)
	}
	return unsupported()
}

func unsupported() *apiError {
	return invalid("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes")
}

func (v *Value) read(kind string, raw json.RawMessage) (err error) {
	*v = Value{Type: kind}
	switch kind {
	case "S", "N":
		return json.Unmarshal(raw, &v.Text)
	case "B":
		var data []byte
		err = json.Unmarshal(raw, &data)
		v.Text = string(data)
	case "BOOL", "NULL":
		return json.Unmarshal(raw, &v.Bool)
	case "SS", "NS":
		return json.Unmarshal(raw, &v.Set)
	case "BS":
		var set [][]byte
		err = json.Unmarshal(raw, &set)
		for _, element := range set {
			v.Set = append(v.Set, string(element))
		}
	case "L":
		return json.Unmarshal(raw, &v.List)
	case "M":
		return json.Unmarshal(raw, &v.Map)
	default:
		return unsupported()
	}
	return err
}

// maxDepth is how deep lists and maps may nest.
const maxDepth = 32

// normal checks a value that a caller gave, and returns it as DynamoDB keeps it:
// numbers are rewritten, nothing else is.
func (v Value) normal(depth int) (Value, *apiError) {
	switch {
	case depth > maxDepth:
		return v, invalid("Nesting Levels have exceeded supported limits")
	case v.Type == "NULL" && !v.Bool:
		return v, invalid("One or more parameter values were invalid: Null attribute value types must have the value of true")
	}
	switch v.Type {
	case "N":
		n, failure := parseNumber(v.Text)
		if failure != nil {
			return v, failure
		}
		return Number(n.String()), nil
	case "SS", "NS", "BS":
		return v.normalSet()
	case "L":
		list := slices.Clone(v.List)
		for i, element := range list {
			var failure *apiError
			if list[i], failure = element.normal(depth + 1); failure != nil {
				return v, failure
			}
		}
		return Value{Type: "L", List: list}, nil
	case "M":
		m, failure := Item(v.Map).normal(depth + 1)
		return Value{Type: "M", Map: m}, failure
	case "":
		return v, unsupported()
	}
	return v, nil
}

func (v Value) normalSet() (Value, *apiError) {
	set := slices.Clone(v.Set)
	for i, element := range set {
		if v.Type != "NS" {
			continue
		}
		n, failure := parseNumber(element)
		if failure != nil {
			return v, failure
		}
		set[i] = n.String()
	}
	switch {
	case len(set) == 0:
		return v, invalid("One or more parameter values were invalid: A set may not be empty")
	case len(slices.Compact(slices.Sorted(slices.Values(set)))) != len(set):
		return v, invalid("One or more parameter values were invalid: Input collection contains duplicates.")
	}
	return Value{Type: v.Type, Set: set}, nil
}

func (i Item) normal(depth int) (Item, *apiError) {
	out := make(Item, len(i))
	for name, v := range i {
		n, failure := v.normal(depth)
		if failure != nil {
			return nil, failure
		}
		out[name] = n
	}
	return out, nil
}

// equals compares type and value; sets don't have an order, and numbers are
// compared as numbers even where they were put past the API.
func (v Value) equals(other Value) bool {
	if v.Type != other.Type {
		return false
	}
	switch v.Type {
	case "N":
		order, ok := v.compare(other)
		return ok && order == 0
	case "SS", "NS", "BS":
		return slices.Equal(slices.Sorted(slices.Values(v.Set)), slices.Sorted(slices.Values(other.Set)))
	case "L":
		return slices.EqualFunc(v.List, other.List, Value.equals)
	case "M":
		return maps.EqualFunc(v.Map, other.Map, Value.equals)
	}
	return v.Text == other.Text && v.Bool == other.Bool
}

// compare orders two values of one type that has an order; ok is false for others.
func (v Value) compare(other Value) (order int, ok bool) {
	if v.Type != other.Type || !ordered(v.Type) {
		return 0, false
	}
	if v.Type != "N" {
		return strings.Compare(v.Text, other.Text), true // of bytes, as UTF-8 orders them
	}
	a, failure := parseNumber(v.Text)
	b, otherFailure := parseNumber(other.Text)
	if failure != nil || otherFailure != nil {
		return 0, false
	}
	return a.compare(b), true
}

// ordered reports whether values of a type can be less than others.
func ordered(kind string) bool { return kind == "S" || kind == "N" || kind == "B" }

// length is what the function size returns; ok is false where it has none.
func (v Value) length() (n int, ok bool) {
	switch v.Type {
	case "S":
		return utf8.RuneCountInString(v.Text), true
	case "B":
		return len(v.Text), true
	case "SS", "NS", "BS":
		return len(v.Set), true
	case "L":
		return len(v.List), true
	case "M":
		return len(v.Map), true
	}
	return 0, false
}

// bytes is the value's part of its item's size (CapacityUnitCalculations.html).
func (v Value) bytes() int {
	switch v.Type {
	case "S", "B":
		return len(v.Text)
	case "N":
		return numberBytes(v.Text)
	case "SS", "NS", "BS":
		n := 0
		for _, element := range v.Set {
			if v.Type == "NS" {
				n += numberBytes(element)
			} else {
				n += len(element)
			}
		}
		return n
	case "L":
		n := 3
		for _, element := range v.List {
			n += 1 + element.bytes()
		}
		return n
	case "M":
		return 3 + len(v.Map) + Item(v.Map).bytes()
	}
	return 1
}

// numberBytes: one for two digits, one more, and one for a minus.
func numberBytes(text string) int {
	unsigned := strings.TrimPrefix(text, "-")
	digits := len(strings.Trim(strings.ReplaceAll(unsigned, ".", ""), "0"))
	return (digits+1)/2 + 1 + len(text) - len(unsigned)
}

func (i Item) bytes() int {
	n := 0
	for name, v := range i {
		n += len(name) + v.bytes()
	}
	return n
}
