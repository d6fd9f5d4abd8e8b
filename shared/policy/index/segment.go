package index

import "strings"

// separator reports whether no star matches c: the separators ':' and '/', and in a URI (RFC
// 8707 section 2) also characters that end or hide the host (https://evil?.example.com), and the
// space, at which a server may split an audience, so that no server can read the text as another
// URI than the pattern's.
func separator(c byte, uri bool) bool {
	switch c {
	case ':', '/':
		return true
	case '?', '#', '@', '%', '\\', ' ':
		return uri
	}
	return false
}

// hasParent reports whether a URI has a path segment "..", which a server may remove together
// with the one before it (RFC 3986 section 5.2.4). No pattern with a star matches it.
func hasParent(text string) bool {
	return strings.Contains(text, "/../") || strings.HasSuffix(text, "/..")
}

// segmentSize returns the size of the first segment of text, with its separator. last means that
// it has none.
func segmentSize(text string, uri bool) (size int, last bool) {
	for i := range len(text) {
		if separator(text[i], uri) {
			return i + 1, false
		}
	}
	return len(text), true
}

// pairsOf returns the pairs of neighbours in a segment, as hashes; the ends of the segment count
// as characters. The star of a pattern has no pairs. So a segment cannot match a text that has
// not all of its pairs.
func pairsOf(segment string) (pairs Set) {
	before := byte(0)
	for i := range len(segment) + 1 {
		after := byte(0)
		if i < len(segment) {
			after = segment[i]
		}
		if before != '*' && after != '*' {
			const golden = 0x9e3779b1 // 2^32 divided by the golden ratio: similar pairs are spread
			pairs.Add(int((uint32(before)<<8 | uint32(after)) * golden >> (32 - setBits)))
		}
		before = after
	}
	return pairs
}

// MatchSegment reports whether a segment of a pattern matches text, in linear time. Each * of it
// matches any number of any characters. MatchSegment takes the first occurrence of the text
// between two stars, which leaves the most for the following ones. So it needs no
// backtracking.
func MatchSegment(segment, text string) bool {
	piece, rest, star := strings.Cut(segment, "*")
	if !star {
		return segment == text
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
