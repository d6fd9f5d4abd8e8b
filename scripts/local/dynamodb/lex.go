package dynamodb

import (
	"strings"
	"unicode/utf8"
)

// token is a word of an expression.
type token struct {
	kind tokenKind
	text string
}

type tokenKind int

const (
	end         tokenKind = iota
	plain                 // a name, keyword or function
	placeholder           // #name
	literal               // :value
	symbol                // an operator, bracket or comma
)

// maxExpression is the longest expression in bytes (Constraints.html).
const maxExpression = 4096

// lex takes an expression apart; bad is what begins where it could not.
func lex(text string) (tokens []token, bad string) {
	for text != "" {
		t := firstToken(text)
		switch {
		case strings.ContainsRune(" \t\r\n", rune(text[0])):
			text = text[1:]
			continue
		case t.text == "":
			_, size := utf8.DecodeRuneInString(text)
			return nil, text[:size]
		}
		tokens = append(tokens, t)
		text = text[len(t.text):]
	}
	return tokens, ""
}

func firstToken(text string) token {
	switch c := text[0]; {
	case c == '#' || c == ':':
		n := wordLength(text[1:])
		if n == 0 {
			return token{}
		}
		kind := placeholder
		if c == ':' {
			kind = literal
		}
		return token{kind, text[:1+n]}
	case isLetter(c):
		return token{plain, text[:wordLength(text)]}
	}
	for _, s := range []string{"<>", "<=", ">=", "<", ">", "=", "(", ")", ",", "+", "-", ".", "["} {
		if strings.HasPrefix(text, s) {
			return token{symbol, s}
		}
	}
	return token{}
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// wordLength is how many bytes of text are letters, digits and underscores.
func wordLength(text string) int {
	for i := range len(text) {
		if c := text[i]; !isLetter(c) && (c < '0' || c > '9') && c != '_' {
			return i
		}
	}
	return len(text)
}
