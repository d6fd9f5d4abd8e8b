// Package strictjson reads JSON objects written by strangers: request bodies,
// secret documents, token answers. It exists because encoding/json is
// forgiving where a credential service must not be: it takes a member twice
// (last wins), takes "Client_ID" for client_id, turns broken UTF-8 into U+FFFD
// and ignores what follows the object.
//
// Errors name a member at most, and only one whose name is harmless to repeat;
// never a byte of a value. The package imports the standard library only.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Limits bound what [Object] accepts. The zero value of a field means no limit
// of that kind.
type Limits struct {
	// Depth is how many objects and arrays may enclose a value, the outermost
	// object counted.
	Depth int
	// Outer holds only the outermost object to the rule that no member is
	// given twice; for a list whose items are judged one by one.
	Outer bool
	// Members is how many members all objects of the text may have together.
	Members int
}

// A DuplicateError says that an object gives one member twice.
type DuplicateError struct{ Name string }

func (e *DuplicateError) Error() string { return Quote(e.Name) + " is given twice" }

// ErrSyntax is returned for every text that isn't one JSON object in valid
// UTF-8 with nothing behind it. The cause is left out on purpose: syntax errors
// of decoders quote the input.
var ErrSyntax = errors.New("not a JSON object")

// ErrLimit is returned for a text that is nested too deeply or has too many
// members.
var ErrLimit = errors.New("too deep or too many members")

// Object reads text as one JSON object and returns its members, each value as
// it stands in the text. Member names are compared byte for byte after
// unescaping. Nested objects are held to the same rules. The error is a
// [*DuplicateError], [ErrSyntax] or [ErrLimit].
func Object(text []byte, limits Limits) (map[string]json.RawMessage, error) {
	if !utf8.Valid(text) || badEscape(text) {
		return nil, ErrSyntax
	}
	w := walker{dec: json.NewDecoder(bytes.NewReader(text)), limits: limits}
	// UseNumber keeps a number of 8000 digits from being an error of its own.
	w.dec.UseNumber()
	token, err := w.dec.Token()
	if err != nil || token != json.Delim('{') {
		return nil, ErrSyntax
	}
	members := make(map[string]json.RawMessage)
	err = w.object(1, func(name string, start, end int64) {
		value := bytes.TrimLeft(text[start:end], " \t\r\n:")
		members[name] = json.RawMessage(value)
	})
	if err != nil {
		return nil, err
	}
	if _, err := w.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, ErrSyntax
	}
	return members, nil
}

// walker checks a text token by token, so that depth costs no stack beyond
// Limits.Depth and no value is decoded twice.
type walker struct {
	dec     *json.Decoder
	limits  Limits
	members int
}

// object reads the rest of an object whose '{' has been read and calls member
// with the offsets around each value.
func (w *walker) object(depth int, member func(name string, start, end int64)) error {
	if w.limits.Depth > 0 && depth > w.limits.Depth {
		return ErrLimit
	}
	seen := make(map[string]bool)
	for {
		token, err := w.dec.Token()
		if err != nil {
			return ErrSyntax
		}
		if token == json.Delim('}') {
			return nil
		}
		name, _ := token.(string) // the decoder takes only strings as names
		if seen[name] && (depth == 1 || !w.limits.Outer) {
			return &DuplicateError{Name: name}
		}
		seen[name] = true
		if w.members++; w.limits.Members > 0 && w.members > w.limits.Members {
			return ErrLimit
		}
		start := w.dec.InputOffset()
		if err := w.value(depth); err != nil {
			return err
		}
		if member != nil {
			member(name, start, w.dec.InputOffset())
		}
	}
}

func (w *walker) value(depth int) error {
	token, err := w.dec.Token()
	if err != nil {
		return ErrSyntax
	}
	switch token {
	case json.Delim('{'):
		return w.object(depth+1, nil)
	case json.Delim('['):
		return w.array(depth + 1)
	}
	return nil
}

func (w *walker) array(depth int) error {
	if w.limits.Depth > 0 && depth > w.limits.Depth {
		return ErrLimit
	}
	for w.dec.More() {
		if err := w.value(depth); err != nil {
			return err
		}
	}
	if _, err := w.dec.Token(); err != nil {
		return ErrSyntax
	}
	return nil
}

// badEscape finds escapes of lone surrogates, which encoding/json would turn
// into U+FFFD: two different names or values would become one.
func badEscape(text []byte) bool {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		if i++; i >= len(text) || text[i] != 'u' {
			continue
		}
		r, ok := hex4(text, i+1)
		i += 4
		if ok && r >= 0xd800 && r <= 0xdbff {
			ok = bytes.HasPrefix(text[min(i+1, len(text)):], []byte(`\u`))
			low, hex := hex4(text, i+3)
			ok = ok && hex && low >= 0xdc00 && low <= 0xdfff
			i += 6
		}
		if !ok || r >= 0xdc00 && r <= 0xdfff {
			return true
		}
	}
	return false
}

func hex4(text []byte, at int) (rune, bool) {
	if at+4 > len(text) {
		return 0, false
	}
	var r rune
	for _, c := range text[at : at+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// String returns the JSON string in value, a valid JSON value; ok is false for
// any other type.
func String(value json.RawMessage) (s string, ok bool) {
	if len(value) < 2 || value[0] != '"' {
		return "", false
	}
	if plain := value[1 : len(value)-1]; bytes.IndexByte(plain, '\\') < 0 && utf8.Valid(plain) {
		return string(plain), true
	}
	return unescaped(value)
}

// unescaped stands apart, because its s must be on the heap.
func unescaped(value json.RawMessage) (s string, ok bool) { return s, json.Unmarshal(value, &s) == nil }

// Strings returns a list of JSON strings, a single string counting as a list of
// one; ok is false for anything else.
func Strings(value json.RawMessage) (list []string, ok bool) {
	if s, ok := String(value); ok {
		return []string{s}, true
	}
	if len(value) == 0 || value[0] != '[' {
		return nil, false
	}
	// Most lists have one plain string.
	if inner := bytes.TrimSpace(value[1 : len(value)-1]); bytes.Count(inner, []byte{'"'}) == 2 && inner[0] == '"' && inner[len(inner)-1] == '"' {
		if s, ok := String(inner); ok {
			return []string{s}, true
		}
	}
	return manyStrings(value)
}

func manyStrings(value json.RawMessage) (list []string, ok bool) {
	var items []json.RawMessage
	if json.Unmarshal(value, &items) != nil {
		return nil, false
	}
	list = make([]string, len(items))
	for i, item := range items {
		if list[i], ok = String(item); !ok {
			return nil, false
		}
	}
	return list, true
}

// Quote returns name for use in an error text when repeating it is harmless,
// that is when it looks like a parameter's name; else the words "a member".
// A secret pasted in the place of a name must not come back in an error.
func Quote(name string) string {
	if len(name) == 0 || len(name) > 40 {
		return "a member"
	}
	for _, c := range []byte(name) {
		if c != '_' && (c < 'a' || c > 'z') {
			return "a member"
		}
	}
	return name
}

// Wrongly returns the error for a member of the wrong type, as in
// "scope must be a string".
func Wrongly(name, want string) error { return fmt.Errorf("%s must be %s", Quote(name), want) }

// Problem says what is wrong with a document for which [Object] returned err, as the
// rest of a sentence that begins with the document's name.
func Problem(err error) string {
	var duplicate *DuplicateError
	switch {
	case errors.As(err, &duplicate):
		return "is ambiguous: " + duplicate.Error()
	case errors.Is(err, ErrLimit):
		return "is nested too deeply or has too many members"
	}
	return "is not a JSON object"
}
