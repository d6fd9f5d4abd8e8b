package policy

import (
	"errors"
	"strings"
)

// pattern is a text in which each * matches any number of characters except the separators
// ':' and '/'. A pattern matches whole texts only.
type pattern string

// matches reports whether text matches, in linear time. No star matches a separator, so the
// segments between separators are matched one by one.
func (p pattern) matches(text string) bool {
	// Most patterns differ from text before their first star.
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
		i, j := separator(rest), separator(text)
		if !segmentMatches(rest[:i], text[:j]) {
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

// matchesURI is matches for resources, which are URIs (RFC 8707 section 2). It refuses texts
// that a server could read as another URI than the pattern's: in a star's text, characters
// that end or hide the host (https://evil?.example.com), and in a path, a segment ".." (RFC
// 3986 sections 3.2 and 5.2.4).
func (p pattern) matchesURI(text string) bool {
	if !strings.Contains(string(p), "*") {
		return string(p) == text && text != ""
	}
	return reserved(string(p)) == reserved(text) && !strings.Contains(text+"/", "/../") && p.matches(text)
}

// reserved returns the characters of a URI that no star matches, without separators.
func reserved(text string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(`?#@%\`, r) {
			return r
		}
		return -1
	}, text)
}

// separator returns the index of the first separator in text, or the length of text.
func separator(text string) int {
	for i := range len(text) {
		if text[i] == ':' || text[i] == '/' {
			return i
		}
	}
	return len(text)
}

// segmentMatches matches a segment without separators. It takes the first occurrence of the
// text between two stars, which leaves the most for the following ones. So it needs no
// backtracking.
func segmentMatches(segment, text string) bool {
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

const (
	lower   = "abcdefghijklmnopqrstuvwxyz"
	letters = lower + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
)

// only reports whether text consists of characters of set.
func only(text, set string) bool { return strings.Trim(text, set) == "" }

// The following functions parse one element of a list. The second result is its problem, or
// "".

// clientPattern parses a pattern of client names.
func clientPattern(text string) (pattern, string) {
	if len(text) > 63 || !only(text, lower+digits+"-*") {
		return "", "has an element that is no client name; a pattern is made of a-z, 0-9, - and *"
	}
	return pattern(text), ""
}

// scopePattern parses a pattern of scope tokens (RFC 6749 section 3.3).
func scopePattern(text string) (pattern, string) {
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
		return "", "has an element that is no scope"
	}
	return pattern(text), ""
}

// resourcePattern parses a pattern of resource indicators (RFC 8707 section 2).
func resourcePattern(text string) (pattern, string) {
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"\#<>`, r) }) {
		return "", "has an element that is no resource"
	}
	return pattern(text), ""
}

// callerID parses the unique id of a role or user, such as AROAEXAMPLEID.
func callerID(text string) (pattern, string) {
	if len(text) > 128 || !only(text, letters+digits) {
		return "", "has an element that is no unique id such as AROAEXAMPLEID"
	}
	return pattern(text), ""
}

const callerForm = "; write aws:111122223333:role/NAME, arn:aws:iam::111122223333:role/NAME, direct:ALIAS, deliver:SECRET, source:queue/NAME, source:bus or source:schedule"

// callerPattern parses a pattern of callers: normalized callers or IAM ARNs.
func callerPattern(text string) (pattern, string) {
	switch {
	case !only(text, letters+digits+"_+=,.@/:*-"):
		return "", "has an element that is no caller" + callerForm
	case strings.HasPrefix(text, "arn:"):
		return callerARN(text)
	}
	return possible(pattern(text))
}

// Caller normalizes text, which is a normalized caller or the ARN of an IAM role or user. The
// error is a predicate, such as "must name one caller", and does not contain text.
func Caller(text string) (string, error) {
	p, problem := callerPattern(text)
	if problem == "" && strings.Contains(text, "*") {
		problem = "must name one caller"
	}
	if problem != "" {
		return "", errors.New(strings.TrimPrefix(problem, "has an element that "))
	}
	return string(p), nil
}

// possible refuses patterns that cannot match any caller, because they are mistakes.
func possible(p pattern) (pattern, string) {
	ok := p == "direct" || p == "sam-local"
	switch parts := strings.Split(string(p), ":"); len(parts) {
	case 2:
		ok = parts[1] != "" && (parts[0] == "direct" && only(parts[1], letters+digits+"_-*") ||
			parts[0] == "deliver" && only(parts[1], letters+digits+"_+=.@/*-") ||
			parts[0] == "source" && sourceForm(parts[1]))
	case 3:
		ok = partitionForm(parts[0]) && accountForm(parts[1]) && principalForm(parts[2])
	}
	if !ok {
		return "", "has an element that matches no caller" + callerForm
	}
	return p, ""
}

// sourceForm reports whether a pattern can match a source of orders.
func sourceForm(text string) bool {
	queue, ok := strings.CutPrefix(text, "queue/")
	return text == "bus" || text == "schedule" || ok && queue != "" && only(queue, letters+digits+"_-.*")
}

// partitionForm reports whether a pattern can match aws, aws-cn and the like.
func partitionForm(text string) bool {
	head, _, star := strings.Cut(text, "*")
	return only(text, lower+"-*") &&
		(text == "aws" || strings.HasPrefix(head, "aws-") || star && strings.HasPrefix("aws-", head))
}

// accountForm reports whether a pattern can match an account, which has 12 digits.
func accountForm(text string) bool {
	stars := strings.Count(text, "*")
	length := len(text) - stars
	return only(text, digits+"*") && (length == 12 || length < 12 && stars > 0)
}

// principalForm reports whether a pattern can match a principal, the part after the account.
func principalForm(text string) bool {
	kind, name, named := strings.Cut(text, "/")
	if !named {
		return text == "root" // without '/', only root is possible, and "*" is a mistake
	}
	k := pattern(kind)
	return (k.matches("role") || k.matches("user") || k.matches("federated-user")) && name != "" && !strings.Contains(name, "/")
}

// callerARN normalizes an IAM ARN. It removes the path before the name: names are unique in
// an account, and the ARN of a session does not contain the path. It refuses a star in an
// ARN with a path, because the pattern would match names with other paths too.
func callerARN(text string) (pattern, string) {
	parts := strings.Split(text, ":")
	if len(parts) == 6 && parts[2] == "sts" && strings.HasPrefix(parts[5], "assumed-role/") {
		return "", "has an element that names a session, which the caller chooses: name the role"
	}
	if len(parts) != 6 || parts[2] != "iam" || parts[3] != "" || parts[1] == "" || parts[4] == "" {
		return "", "has an element that is no ARN of a role or a user" + callerForm
	}
	account := parts[1] + ":" + parts[4] + ":"
	if parts[5] == "root" {
		return possible(pattern(account + "root"))
	}
	kind, name, _ := strings.Cut(parts[5], "/")
	last := strings.LastIndexByte(name, '/')
	switch {
	case kind != "role" && kind != "user", name == "" || strings.HasSuffix(name, "/"):
		return "", "has an element that is no ARN of a role or a user" + callerForm
	case last >= 0 && strings.Contains(name, "*"):
		return "", "has an element with both a path and a *, but the path of a caller is unknown: leave the path out"
	}
	return possible(pattern(account + kind + "/" + name[last+1:]))
}
