package strictjson

import (
	"encoding/binary"
	"encoding/json"
	"math/bits"
)

// Reader reads a JSON text once, from its beginning to its end, and checks its syntax meanwhile. What it
// accepts is what [json.Valid] accepts; only [Reader.Valid] tells, after the whole text was read. A Reader
// allocates nothing, but for values that are nested deeply. The zero value reads an empty text.
type Reader struct {
	text []byte
	at   int // of the next byte
	// depth is the number of objects and arrays that Members and Elements are in. most is the
	// number of nested ones, these included.
	depth, most int
	// invalid means that the syntax is wrong, or that the nesting is deeper than most, which deep
	// says too.
	invalid, deep bool
}

// maxNesting is the depth that encoding/json accepts.
const maxNesting = 10000

// NewReader returns a Reader of text.
func NewReader(text []byte) Reader { return Reader{text: text, most: maxNesting} }

// Valid reports whether the text is one JSON value and was read to its end.
func (r *Reader) Valid() bool {
	r.skip()
	return !r.invalid && r.at == len(r.text)
}

// Next returns the first byte of the next value, which tells what it is; 0: the text is not valid.
func (r *Reader) Next() byte {
	if r.skip(); r.at == len(r.text) {
		return 0
	}
	return r.text[r.at]
}

// Value reads a value and returns it as it is in the text; empty: the text is not valid.
func (r *Reader) Value() []byte {
	r.skip()
	start := r.at
	if closing, ok := r.begin(r.depth); !ok || closing != 0 && !r.nested(closing) {
		r.fail()
		return nil
	}
	return r.text[start:r.at:r.at]
}

// Members reads a value. If it is an object, Members calls member with the name of each member in its
// quotes, as it is in the text. member may read the value of the member, by one call of Value, Members
// or Elements.
func (r *Reader) Members(member func(name []byte)) {
	r.each('{', func() {
		start := r.at
		if !r.string() {
			r.fail()
			return
		}
		name := r.text[start:r.at]
		if r.skip(); !r.take(':') {
			r.fail()
			return
		}
		r.skip()
		start = r.at
		if member(name); r.at == start {
			r.Value()
		}
	})
}

// Elements reads a value. If it is an array, Elements calls element for each element, which may read it
// as in Members.
func (r *Reader) Elements(element func()) {
	r.each('[', func() {
		start := r.at
		if element(); r.at == start {
			r.Value()
		}
	})
}

// each calls read at the beginning of each member of an object, or of each element of an array. bracket
// is the one that opens it.
func (r *Reader) each(bracket byte, read func()) {
	if r.Next() != bracket {
		r.Value()
		return
	}
	closing, ok := r.enter(r.depth)
	if !ok {
		r.fail()
		return
	}
	r.depth++
	for closing != 0 && !r.invalid {
		r.skip()
		if read(); r.invalid {
			break
		}
		if r.skip(); r.take(closing) {
			break
		}
		if !r.take(',') {
			r.fail()
		}
	}
	r.depth--
}

// fail ends the reading of a text that is not valid.
func (r *Reader) fail() { r.invalid, r.at = true, len(r.text) }

// take skips c if it is next.
func (r *Reader) take(c byte) bool {
	if r.at < len(r.text) && r.text[r.at] == c {
		r.at++
		return true
	}
	return false
}

const space = " \t\r\n"

// skip skips white space (RFC 8259 section 2).
func (r *Reader) skip() {
	for r.at < len(r.text) && r.text[r.at] <= ' ' {
		if c := r.text[r.at]; c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return
		}
		r.at++
	}
}

// begin skips a value. Of an object or array that is not empty it skips the beginning only, and returns
// the bracket that must close it; else 0. depth is the number of those that are open.
func (r *Reader) begin(depth int) (closing byte, ok bool) {
	switch r.Next() {
	case '"':
		return 0, r.string()
	case '{', '[':
		return r.enter(depth)
	case 't':
		return 0, r.word("true")
	case 'f':
		return 0, r.word("false")
	case 'n':
		return 0, r.word("null")
	}
	return 0, r.number()
}

// enter skips an opening bracket. If the object or array is empty it skips its end, and returns 0; else
// it returns the bracket that must close it.
func (r *Reader) enter(depth int) (closing byte, ok bool) {
	if depth >= r.most {
		r.deep = true
		return 0, false
	}
	closing = r.text[r.at] + 2 // as in ASCII
	r.at++
	if r.skip(); r.take(closing) {
		return 0, true
	}
	return closing, true
}

// nested skips the rest of an object or array that has begun, up to closing. It does not call itself,
// so that the depth of a text costs no stack.
func (r *Reader) nested(closing byte) bool {
	var usual [32]byte // so that the list is not on the heap
	open := append(usual[:0], closing)
	for {
		if open[len(open)-1] == '}' && !r.name() {
			return false
		}
		closing, ok := r.begin(r.depth + len(open))
		switch {
		case !ok:
			return false
		case closing != 0:
			open = append(open, closing)
			continue
		}
		for r.skip(); r.take(open[len(open)-1]); r.skip() {
			if open = open[:len(open)-1]; len(open) == 0 {
				return true
			}
		}
		if !r.take(',') {
			return false
		}
	}
}

// name skips the name of a member and its colon.
func (r *Reader) name() bool {
	if r.skip(); !r.string() {
		return false
	}
	r.skip()
	return r.take(':')
}

func (r *Reader) word(word string) bool {
	if len(r.text)-r.at < len(word) || string(r.text[r.at:r.at+len(word)]) != word {
		return false
	}
	r.at += len(word)
	return true
}

// string skips a string (RFC 8259 section 7).
func (r *Reader) string() bool {
	if !r.take('"') {
		return false
	}
	for {
		r.at = plainEnd(r.text, r.at)
		switch {
		case r.take('"'):
			return true
		case !r.take('\\') || !r.escape():
			return false
		}
	}
}

// plainEnd returns where the next quote, backslash or control character is from at on; the length of
// text if there is none. It reads eight bytes at a time. In each of the three differences the highest
// bit of an ASCII byte is set if the byte is one of these; it may also be set in a byte above it, but
// not below.
func plainEnd(text []byte, at int) int {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for ; at+8 <= len(text); at += 8 {
		word := binary.LittleEndian.Uint64(text[at:])
		quote, backslash := word^ones*'"', word^ones*'\\'
		if found := ((word - ones*' ') | (quote - ones) | (backslash - ones)) &^ word & high; found != 0 {
			return at + bits.TrailingZeros64(found)/8
		}
	}
	for at < len(text) && text[at] >= ' ' && text[at] != '"' && text[at] != '\\' {
		at++
	}
	return at
}

// escape skips what follows a backslash.
func (r *Reader) escape() bool {
	if r.take('u') {
		_, ok := hex4(r.text, r.at)
		r.at += 4
		return ok
	}
	if r.at == len(r.text) {
		return false
	}
	switch r.at++; r.text[r.at-1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	}
	return false
}

// number skips a number (RFC 8259 section 6).
func (r *Reader) number() bool {
	r.take('-')
	if !r.take('0') && !r.digits() || r.take('.') && !r.digits() {
		return false
	}
	if r.take('e') || r.take('E') {
		if !r.take('+') {
			r.take('-')
		}
		return r.digits()
	}
	return true
}

// digits skips digits, at least one.
func (r *Reader) digits() bool {
	start := r.at
	for r.at < len(r.text) && r.text[r.at] >= '0' && r.text[r.at] <= '9' {
		r.at++
	}
	return r.at > start
}

// Elements returns the elements of an array as they are in value. ok is false if value is not an array
// of 1 to most elements, or not valid. A longer array is not read to its end, because a list of its
// elements needs twelve times its size.
func Elements(value json.RawMessage, most int) (list []json.RawMessage, ok bool) {
	r := NewReader(value)
	if r.Next() != '[' {
		return nil, false
	}
	ok = true
	r.Elements(func() {
		if ok = ok && len(list) < most; !ok {
			r.fail()
			return
		}
		list = append(list, r.Value())
	})
	if !r.Valid() {
		return nil, false
	}
	return list, len(list) > 0
}

// EachString calls each with the strings of a list, or with the one string that value is; see [Bytes].
// ok is false if value is neither, has another element, or is not valid.
func EachString(value json.RawMessage, each func(text []byte)) (ok bool) {
	r := NewReader(value)
	ok = true
	one := func() {
		text, isString := Bytes(r.Value())
		if ok = ok && isString; ok {
			each(text)
		}
	}
	if r.Next() == '[' {
		r.Elements(one)
	} else {
		one()
	}
	return ok && r.Valid()
}
