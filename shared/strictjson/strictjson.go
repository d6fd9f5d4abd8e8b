// Package strictjson reads JSON objects of untrusted origin: request bodies, secret documents
// and token responses. encoding/json is too lenient for them: it accepts duplicate members
// and uses the last, accepts "Client_ID" for client_id, replaces invalid UTF-8 by U+FFFD, and
// its Decoder ignores what follows the object.
//
// Errors contain no value and at most one member's name, and that only if it is safe to
// repeat; see [Quote]. The package imports only the standard library.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits are the limits of [Object]. The zero value of a field means no limit.
type Limits struct {
	// Depth is the number of nested objects and arrays, including the outermost object. Text of
	// untrusted origin needs it, or Outer: the search for duplicate members needs memory for each level.
	Depth int
	// Outer limits the search for duplicate members and the count of Members to the outermost
	// object, for a list whose elements are parsed one by one. The rest of text is checked
	// without memory for it.
	Outer bool
	// Members is the number of members in all objects together.
	Members int
}

// A DuplicateError means that an object has two members of the same name.
type DuplicateError struct{ Name string }

func (e *DuplicateError) Error() string { return Quote(e.Name) + " is given twice" }

// ErrSyntax means that a text is not exactly one JSON object in valid UTF-8. It does not wrap
// the decoder's error, which quotes the input.
var ErrSyntax = errors.New("not a JSON object")

// ErrLimit means that a text exceeds Limits.Depth or Limits.Members.
var ErrLimit = errors.New("too deep or too many members")

// Object parses text as one JSON object and returns its members, with each value as it is in
// text. It compares names of members as bytes, after unescaping, and checks nested objects in
// the same way. The error is a [*DuplicateError], [ErrSyntax] or [ErrLimit].
func Object(text []byte, limits Limits) (map[string]json.RawMessage, error) {
	w := walker{Reader: NewReader(text), limits: limits}
	if limits.Depth > 0 {
		w.most = limits.Depth
	}
	if !utf8.Valid(text) || badEscape(text) || w.Next() != '{' {
		return nil, ErrSyntax
	}
	members := w.object()
	switch {
	case w.deep && limits.Depth > 0:
		return nil, ErrLimit
	case !w.Valid():
		return nil, ErrSyntax
	case w.err != nil:
		return nil, w.err
	}
	return members, nil
}

// walker searches a text for duplicate members.
type walker struct {
	Reader
	limits  Limits
	members int
	// err ends the search, but not the reading: the text may not be valid.
	err error
}

// object reads an object and returns its members.
func (w *walker) object() map[string]json.RawMessage {
	members := make(map[string]json.RawMessage)
	w.Members(func(quoted []byte) {
		if w.err != nil {
			return
		}
		name, _ := String(quoted)
		_, twice := members[name]
		w.members++
		switch {
		case twice:
			w.err = &DuplicateError{Name: name}
		case w.limits.Members > 0 && w.members > w.limits.Members:
			w.err = ErrLimit
		default:
			start := w.at
			w.search()
			members[name] = w.text[start:w.at:w.at]
		}
	})
	return members
}

// search reads a value and searches it.
func (w *walker) search() {
	switch {
	case w.limits.Outer || w.err != nil:
		w.Value()
	case w.Next() == '{':
		w.object()
	default:
		w.Elements(w.search)
	}
}

// badEscape reports whether text has an escape of a lone surrogate. encoding/json replaces
// these by U+FFFD, so that different names or values become equal.
func badEscape(text []byte) bool {
	for i := 0; i < len(text); i++ {
		next := bytes.IndexByte(text[i:], '\\')
		if next < 0 {
			return false
		}
		i += next
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

func hex4(text []byte, at int) (unit uint64, ok bool) {
	if at+4 > len(text) {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(text[at:at+4]), 16, 16)
	return unit, err == nil
}

// String returns the string that value is. value must be valid JSON; ok is false if it is not
// a string.
func String(value json.RawMessage) (s string, ok bool) {
	if plain, ok := plain(value); ok {
		return string(plain), true
	}
	if len(value) < 2 || value[0] != '"' {
		return "", false
	}
	return unescaped(value)
}

// Bytes is [String] for a caller that keeps nothing of value: the result shares its memory if
// it has no escapes.
func Bytes(value json.RawMessage) (text []byte, ok bool) {
	if plain, ok := plain(value); ok {
		return plain, true
	}
	s, ok := String(value)
	return []byte(s), ok
}

// plain returns what is between the quotes of a string without escapes.
func plain(value json.RawMessage) (text []byte, ok bool) {
	if len(value) < 2 || value[0] != '"' {
		return nil, false
	}
	text = value[1 : len(value)-1]
	return text, bytes.IndexByte(text, '\\') < 0 && utf8.Valid(text)
}

// unescaped is a separate function because its s escapes to the heap.
func unescaped(value json.RawMessage) (s string, ok bool) { return s, json.Unmarshal(value, &s) == nil }

// Strings returns the list of strings that value is; a single string is a list of one. value
// must be valid JSON; ok is false if it is neither.
func Strings(value json.RawMessage) (list []string, ok bool) {
	if s, ok := String(value); ok {
		return []string{s}, true
	}
	if len(value) == 0 || value[0] != '[' {
		return nil, false
	}
	// Most lists consist of one string without escapes.
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

// AppendString appends text, which must be UTF-8, as a JSON string. Unlike encoding/json, it does not
// escape <, > and &.
func AppendString(dst, text []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for {
		end := plainEnd(text, 0)
		dst = append(dst, text[:end]...)
		if end == len(text) {
			return append(dst, '"')
		}
		if c := text[end]; c < ' ' {
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, '\\', c)
		}
		text = text[end+1:]
	}
}

// Quote returns name for an error text if it looks like the name of a parameter: 1 to 40 of
// the characters a-z and _, and at most two digits at the end. Otherwise it returns "a member",
// because a secret may have been pasted where the name belongs.
func Quote(name string) string {
	unsafe := func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }
	letters := strings.TrimRight(name, "0123456789")
	if letters == "" || len(name) > 40 || len(name)-len(letters) > 2 || strings.ContainsFunc(letters, unsafe) {
		return "a member"
	}
	return name
}

// Like returns the one of known that a name means, if they differ only in capital letters,
// hyphens, dots and underscores, as client_id and clientId do; empty: there is none.
func Like(name string, known []string) string {
	plain := func(name string) string {
		return strings.NewReplacer("_", "", "-", "", ".", "").Replace(strings.ToLower(name))
	}
	for _, candidate := range known {
		if candidate != name && plain(candidate) == plain(name) {
			return candidate
		}
	}
	return ""
}

// Wrongly returns the error of a member that has the wrong type, such as "scope must be a
// string".
func Wrongly(name, want string) error { return fmt.Errorf("%s must be %s", Quote(name), want) }
