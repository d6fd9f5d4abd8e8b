package strictjson

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Problem returns the predicate of a sentence about text, for which [Object] returned err, such
// as "is not a JSON object: a comma before } or ] at line 3, column 1". For [ErrSyntax] it says
// what the text looks like and where the mistake is. It repeats nothing of text but the name of a
// member, see [Quote].
func Problem(err error, text []byte) string {
	if duplicate, ok := errors.AsType[*DuplicateError](err); ok {
		return "is ambiguous: " + duplicate.Error()
	}
	if errors.Is(err, ErrLimit) {
		return "is nested too deeply or has too many members"
	}
	return "is not a JSON object: " + mistake(text)
}

// mistake says why text is not one JSON object.
func mistake(text []byte) string {
	trimmed := bytes.TrimLeft(text, space)
	switch {
	case len(trimmed) == 0:
		return "it is empty"
	case bytes.HasPrefix(text, []byte("\xff\xfe")), bytes.HasPrefix(text, []byte("\xfe\xff")), len(text) > 1 && (text[0] == 0 || text[1] == 0):
		return "it looks like UTF-16; UTF-8 is needed"
	case bytes.HasPrefix(text, []byte("\xef\xbb\xbf")):
		return "it begins with a byte order mark"
	case !utf8.Valid(text):
		return "a byte that is not UTF-8" + position(text, invalidByte(text))
	case json.Valid(text):
		return otherValue(text, trimmed[0])
	case trimmed[0] != '{':
		return otherFormat(string(trimmed)) + position(text, len(text)-len(trimmed))
	}
	return syntaxMistake(text)
}

func invalidByte(text []byte) int {
	at := 0
	for at < len(text) {
		r, n := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && n == 1 {
			break
		}
		at += n
	}
	return at
}

// position names the byte at offset for a person. Columns count characters.
func position(text []byte, offset int) string {
	before := text[:offset]
	line := before[bytes.LastIndexByte(before, '\n')+1:]
	return fmt.Sprintf(" at line %d, column %d", bytes.Count(before, []byte{'\n'})+1, utf8.RuneCount(line)+1)
}

// otherValue is the mistake of valid JSON that begins with first.
func otherValue(text []byte, first byte) string {
	switch first {
	case '{':
		return `an escape of half a character`
	case '[':
		return "it is a list"
	case '"':
		inner, _ := String(bytes.TrimSpace(text))
		switch {
		case strings.HasPrefix(strings.TrimLeft(inner, space), "{"):
			return "it is quoted twice: a JSON object inside of a JSON string"
		case IsBase64(inner, "{"):
			return looksLikeBase64
		}
		return "it is a JSON string"
	}
	return "it is another JSON value"
}

const looksLikeBase64 = "it looks like base64: decode it (base64 -d)"

// IsBase64 reports whether text looks like the base64 of a text that begins with prefix, perhaps after
// white space.
func IsBase64(text, prefix string) bool {
	text = strings.TrimLeft(text, space)
	// White space takes bytes of the beginning.
	decoded, err := base64.StdEncoding.DecodeString(text[:min(len(text), 8+base64.StdEncoding.EncodedLen(len(prefix)))/4*4])
	return err == nil && strings.HasPrefix(strings.TrimLeft(string(decoded), space), prefix)
}

// isAfterText reports whether an object begins on a line of text that begins with something else: a
// command and what it says, or a heading.
func isAfterText(text string) bool {
	// A list has no value that begins with a letter, but for true, false and null. A prompt may.
	if text[0] == '"' || text[0] == '[' && (len(text) == 1 || strings.IndexByte("\"[{-0123456789tfn]"+space, text[1]) >= 0) {
		return false
	}
	for line := range strings.Lines(text) {
		if line = strings.Trim(line, space); strings.HasPrefix(line, "{") || strings.HasSuffix(line, "{") {
			return true
		}
	}
	return false
}

// otherFormat says what a text that does not begin like JSON looks like.
func otherFormat(text string) string {
	const word = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"
	afterWord := strings.TrimLeft(text, word)
	begins := len(afterWord) < len(text)
	for _, format := range []struct {
		looks bool
		name  string
	}{
		{strings.HasPrefix(text, "-----BEGIN"), "it looks like PEM"},
		{strings.HasPrefix(text, "<"), "it looks like HTML or XML"},
		{strings.HasPrefix(text, "//"), "a comment, which JSON does not have"},
		{strings.HasPrefix(text, "/*"), "a comment, which JSON does not have"},
		{strings.HasPrefix(text, "#"), "a comment, which JSON does not have"},
		{strings.HasPrefix(text, "'"), "a single quote"},
		{strings.HasPrefix(text, "```"), "a fence of Markdown: only the text inside of it is needed"},
		{strings.HasPrefix(text, "~~~"), "a fence of Markdown: only the text inside of it is needed"},
		{typographic(text), "a typographic quote: use double quotes"},
		{strings.HasPrefix(text, `\"`), "a quote after a backslash: the text was escaped once too often"},
		{IsBase64(text, "{"), looksLikeBase64},
		{isAfterText(text), "text before the object"},
		{strings.HasPrefix(text, "[") || strings.HasPrefix(text, `"`), "it begins as a list or a string"},
		{begins && strings.HasPrefix(afterWord, "="), "it looks like lines or a form of name=value"},
		{strings.HasPrefix(text, "---"), "it looks like YAML"},
		{begins && strings.HasPrefix(strings.TrimLeft(afterWord, " \t"), ":"), "it looks like YAML, or { is missing"},
	} {
		if format.looks {
			return format.name
		}
	}
	return "it does not begin with {"
}

// typographic reports whether text begins with a quote that word processors make.
func typographic(text string) bool {
	r, _ := utf8.DecodeRuneInString(text)
	return strings.ContainsRune("\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb\u2032\u2033`\u00b4", r)
}

// syntaxMistake is the mistake of a text that begins with { and is not valid JSON. The error of
// encoding/json says where it is and what was read there.
func syntaxMistake(text []byte) string {
	var value json.RawMessage
	var syntax *json.SyntaxError
	if !errors.As(json.Unmarshal(text, &value), &syntax) {
		return "it cannot be read"
	}
	reason := syntax.Error()
	at := min(max(int(syntax.Offset)-1, 0), len(text)-1)
	// An offset in the middle of a character is that of its last byte.
	for at > 0 && !utf8.RuneStart(text[at]) {
		at--
	}
	switch {
	case strings.HasPrefix(reason, "unexpected end"):
		return "it ends before it is complete," + position(text, len(text))
	case strings.HasSuffix(reason, "after top-level value"):
		return "more text after the object," + position(text, at)
	case strings.HasSuffix(reason, "in string literal"):
		return `an unescaped line break or control character in a string` + position(text, at)
	case strings.HasSuffix(reason, "in string escape code"), strings.HasSuffix(reason, "character escape"):
		return "an escape that JSON does not have" + position(text, at)
	}
	return misplaced(text, at, reason) + position(text, at)
}

// misplaced says what is wrong with the character at a place where JSON does not allow it.
func misplaced(text []byte, at int, reason string) string {
	before := bytes.TrimRight(text[:at], space)
	closing := text[at] == '}' || text[at] == ']'
	switch {
	case closing && bytes.HasSuffix(before, []byte{','}):
		return "a comma before } or ]"
	case typographic(string(text[at:])):
		return "a typographic quote: use double quotes"
	case text[at] == '\'':
		return "a single quote: use double quotes"
	case text[at] == '\\':
		return "a backslash outside of a string: the text was escaped once too often"
	case text[at] == '/' || text[at] == '#':
		return "a comment, which JSON does not have"
	case text[at] >= utf8.RuneSelf || text[at] < ' ':
		return "a character that JSON does not allow outside of a string"
	case strings.HasSuffix(reason, "looking for beginning of object key string"):
		return "a name in double quotes is missing"
	case strings.HasSuffix(reason, "after object key"):
		return "a colon is missing"
	case strings.HasSuffix(reason, "after object key:value pair"), strings.HasSuffix(reason, "after array element"):
		return "a comma or a closing bracket is missing"
	}
	return "a value is missing or is not in double quotes"
}
