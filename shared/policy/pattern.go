package policy

import "strings"

// pattern is a text in which each * stands for any number of characters other than
// ':' and '/'. It matches a whole text or nothing.
type pattern string

// matches reports whether text matches. It takes time in proportion to the product
// of both lengths at most: of several stars only the last is ever moved.
func (p pattern) matches(text string) bool {
	if text == "" {
		return false
	}
	at, star, from := 0, -1, 0
	for i := 0; i < len(text); {
		switch {
		case at < len(p) && p[at] == '*':
			star, from = at, i
			at++
		case at < len(p) && p[at] == text[i]:
			at++
			i++
		case star >= 0 && !border(text[from]):
			// The star takes one character more.
			from++
			at, i = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(string(p[at:]), "*") == ""
}

// border reports whether no star takes c.
func border(c byte) bool { return c == ':' || c == '/' }
