package strictjson

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Each calls member with the name, in its quotes, and the value of each member of the object
// in text; for another value it does nothing. text must be valid JSON without leading space,
// as it is where encoding/json hands it on. Each allocates nothing.
func Each(text []byte, member func(name, value []byte)) {
	if len(text) == 0 || text[0] != '{' {
		return
	}
	text = bytes.TrimLeft(text[1:], space)
	for len(text) > 0 && text[0] == '"' {
		n := valueEnd(text)
		name := text[:n]
		text = bytes.TrimLeft(text[n:], space+":")
		n = valueEnd(text)
		member(name, text[:n])
		text = bytes.TrimLeft(text[n:], space+",")
	}
}

// Elements returns the elements of an array as they are in value, which must be valid JSON.
// ok is false if value is not an array of 1 to most elements. A longer array is not read to
// its end, because a list of its elements needs twelve times its size.
func Elements(value json.RawMessage, most int) (list []json.RawMessage, ok bool) {
	if len(value) == 0 || value[0] != '[' {
		return nil, false
	}
	for text := bytes.TrimLeft(value[1:], space); len(text) > 0 && text[0] != ']'; {
		if len(list) == most {
			return nil, false
		}
		n := valueEnd(text)
		list = append(list, text[:n:n])
		text = bytes.TrimLeft(text[n:], space+",")
	}
	return list, len(list) > 0
}

// EachString calls each with the strings of a list, or with the one string that value is, which
// must be valid JSON; see [Bytes]. ok is false if value is neither, or has another element.
func EachString(value json.RawMessage, each func(text []byte)) (ok bool) {
	if text, ok := Bytes(value); ok {
		each(text)
		return true
	}
	if len(value) == 0 || value[0] != '[' {
		return false
	}
	for list := bytes.TrimLeft(value[1:], space); len(list) > 0 && list[0] != ']'; {
		n := valueEnd(list)
		text, ok := Bytes(list[:n])
		if !ok {
			return false
		}
		each(text)
		list = bytes.TrimLeft(list[n:], space+",")
	}
	return true
}

const space = " \t\r\n"

// valueEnd returns where the JSON value that text begins with ends.
func valueEnd(text []byte) int {
	switch text[0] {
	case '"':
		return stringEnd(text)
	case '{', '[':
		return nestedEnd(text)
	}
	if end := bytes.IndexAny(text, space+",}]"); end >= 0 {
		return end
	}
	return len(text)
}

func stringEnd(text []byte) int {
	quote := 0
	for i := 1; i <= len(text); {
		if i > quote { // at the start, or the last one was escaped
			n := bytes.IndexByte(text[i:], '"')
			if n < 0 {
				break
			}
			quote = i + n
		}
		escape := bytes.IndexByte(text[i:quote], '\\')
		if escape < 0 {
			return quote + 1
		}
		i += escape + 2
	}
	return len(text)
}

func nestedEnd(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i += stringEnd(text[i:]) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(text)
}

// deeper reports whether text has values that are nested deeper than most.
func deeper(text []byte, most int) bool {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i += stringEnd(text[i:]) - 1
		case '{', '[':
			if depth++; depth > most {
				return true
			}
		case '}', ']':
			depth--
		}
	}
	return false
}

// maxNesting is the depth that encoding/json accepts.
const maxNesting = 10000

// Valid is [json.Valid] without its state machine, which calls a function for each byte: the
// same texts are valid. Most of an event is strings, which Valid scans in one loop.
func Valid(text []byte) bool {
	s := scanner{text: text}
	var usual [64]byte // so that the list is not on the heap
	open := usual[:0]  // the brackets that close what is open
	for {
		closing, ok := s.value(len(open) < maxNesting)
		switch {
		case !ok:
			return false
		case closing != 0:
			open = append(open, closing)
			continue
		}
		for s.skip(); len(open) > 0 && s.take(open[len(open)-1]); s.skip() {
			open = open[:len(open)-1]
		}
		switch {
		case len(open) == 0:
			return s.at == len(text)
		case !s.take(','):
			return false
		}
		if s.skip(); open[len(open)-1] == '}' && !s.name() {
			return false
		}
	}
}

// scanner reads text from at on.
type scanner struct {
	text []byte
	at   int
}

// take skips c if it is next.
func (s *scanner) take(c byte) bool {
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

// skip skips white space (RFC 8259 section 2).
func (s *scanner) skip() {
	for s.at < len(s.text) && strings.IndexByte(space, s.text[s.at]) >= 0 {
		s.at++
	}
}

// value skips a value. Of an object or array that is not empty it skips the beginning only, up
// to the first value in it, and returns the bracket that must close it; else 0. nested means
// that the value may be an object or array.
func (s *scanner) value(nested bool) (closing byte, ok bool) {
	s.skip()
	switch {
	case s.at == len(s.text):
		return 0, false
	case s.take('{'):
		if s.skip(); s.take('}') {
			return 0, nested
		}
		return '}', nested && s.name()
	case s.take('['):
		if s.skip(); s.take(']') {
			return 0, nested
		}
		return ']', nested
	}
	switch s.text[s.at] {
	case '"':
		return 0, s.string()
	case 't':
		return 0, s.word("true")
	case 'f':
		return 0, s.word("false")
	case 'n':
		return 0, s.word("null")
	}
	return 0, s.number()
}

// name skips the name of a member and its colon.
func (s *scanner) name() bool {
	if !s.string() {
		return false
	}
	s.skip()
	return s.take(':')
}

func (s *scanner) word(word string) bool {
	if len(s.text)-s.at < len(word) || string(s.text[s.at:s.at+len(word)]) != word {
		return false
	}
	s.at += len(word)
	return true
}

// string skips a string (RFC 8259 section 7).
func (s *scanner) string() bool {
	if !s.take('"') {
		return false
	}
	for i := s.at; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '"':
			s.at = i + 1
			return true
		case c < ' ':
			return false
		case c == '\\':
			if s.at = i + 1; !s.escape() {
				return false
			}
			i = s.at - 1
		}
	}
	return false
}

// escape skips what follows a backslash.
func (s *scanner) escape() bool {
	if !s.take('u') {
		s.at++
		return s.at <= len(s.text) && strings.IndexByte(`"\/bfnrt`, s.text[s.at-1]) >= 0
	}
	_, ok := hex4(s.text, s.at)
	s.at += 4
	return ok
}

// number skips a number (RFC 8259 section 6).
func (s *scanner) number() bool {
	s.take('-')
	if !s.take('0') && !s.digits() || s.take('.') && !s.digits() {
		return false
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		return s.digits()
	}
	return true
}

// digits skips digits, at least one.
func (s *scanner) digits() bool {
	start := s.at
	for s.at < len(s.text) && s.text[s.at] >= '0' && s.text[s.at] <= '9' {
		s.at++
	}
	return s.at > start
}
