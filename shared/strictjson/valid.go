package strictjson

import "strings"

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
