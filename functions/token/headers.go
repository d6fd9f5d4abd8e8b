package main

import (
	"bytes"
	"slices"
	"strings"

	"tokenvendor/shared/strictjson"
)

// mediaHeaders are the different values of the two headers that say what a body
// is. The others are not taken out of the event: they are many, and some of them
// are secrets.
type mediaHeaders struct {
	contentType, contentEncoding []string
	malformed                    bool
}

// UnmarshalJSON implements json.Unmarshaler for both forms of headers in an
// event: a value, or a list of values, for each name.
func (h *mediaHeaders) UnmarshalJSON(text []byte) error {
	// Said later: an error here would end the decoding before it is known whom
	// to tell.
	h.malformed = text[0] != '{' && text[0] != 'n'
	eachMember(text, func(name, value []byte) {
		var list *[]string
		switch {
		case bytes.EqualFold(name, []byte(`"content-type"`)):
			list = &h.contentType
		case bytes.EqualFold(name, []byte(`"content-encoding"`)):
			list = &h.contentEncoding
		default:
			return
		}
		values, _ := strictjson.Strings(value)
		for _, v := range values {
			if v = strings.TrimSpace(v); !slices.Contains(*list, v) {
				*list = append(*list, v)
			}
		}
	})
	return nil
}

// eachMember calls member with the name, in its quotes, and the value of each
// member of the object in text; for another value it does nothing. text must be
// valid JSON, as it is where encoding/json hands it on. It allocates nothing.
func eachMember(text []byte, member func(name, value []byte)) {
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
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
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
