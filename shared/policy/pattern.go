package policy

import "strings"

// pattern is a text in which each * stands for any number of characters other than
// ':' and '/'. It matches a whole text or nothing.
type pattern string

// matches reports whether text matches, in time in proportion to the text. Since no
// star takes a border, the spans between borders match one by one.
func (p pattern) matches(text string) bool {
	// Most patterns fail before their first star.
	plain := 0
	for ; plain < len(p) && p[plain] != '*'; plain++ {
		if plain == len(text) || p[plain] != text[plain] {
			return false
		}
	}
	if text == "" || plain == len(p) {
		return text != "" && plain == len(text)
	}
	for rest, text := string(p[plain:]), text[plain:]; ; {
		i, j := border(rest), border(text)
		if !spanMatches(rest[:i], text[:j]) {
			return false
		}
		if i == len(rest) || j == len(text) {
			return i == len(rest) && j == len(text)
		}
		if rest[i] != text[j] {
			return false
		}
		rest, text = rest[i+1:], text[j+1:]
	}
}

// matchesURI is matches for resources, which are URIs. No star stands for what would make
// another URI of it: what ends or hides the name of a host (https://evil?.example.com), or
// leads up in a path (RFC 3986 sections 3.2 and 5.2.4).
func (p pattern) matchesURI(text string) bool {
	if !strings.Contains(string(p), "*") {
		return string(p) == text && text != ""
	}
	return steps(string(p)) == steps(text) && !strings.Contains(text+"/", "/../") && p.matches(text)
}

// steps returns the characters of a URI that no star stands for, beside borders.
func steps(text string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(`?#@%\`, r) {
			return r
		}
		return -1
	}, text)
}

// border returns where text has its first border, or its length.
func border(text string) int {
	for i := range len(text) {
		if text[i] == ':' || text[i] == '/' {
			return i
		}
	}
	return len(text)
}

// spanMatches matches a span without borders. What stands between two stars may be
// taken where it is found first: that leaves most of the text for what follows, so
// that nothing is ever tried twice.
func spanMatches(span, text string) bool {
	piece, rest, star := strings.Cut(span, "*")
	if !star {
		return span == text
	}
	text, ok := strings.CutPrefix(text, piece)
	for ok {
		if piece, rest, star = strings.Cut(rest, "*"); !star {
			return strings.HasSuffix(text, piece)
		}
		_, text, ok = strings.Cut(text, piece)
	}
	return false
}
