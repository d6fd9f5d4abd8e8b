package strictjson

import (
	"bytes"
	"encoding/json"
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
