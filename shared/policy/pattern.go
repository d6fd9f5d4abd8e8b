package policy

import (
	"errors"
	"slices"
	"strings"

	"tokenvendor/shared/policy/index"
)

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
func clientPattern(text string) (parsed, problem string) {
	if len(text) > 63 || !only(text, lower+digits+"-*") {
		return "", "has an element that is no client name; a pattern is made of a-z, 0-9, - and *"
	}
	return text, ""
}

// scopePattern parses a pattern of scope tokens (RFC 6749 section 3.3).
func scopePattern(text string) (parsed, problem string) {
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
		return "", "has an element that is no scope"
	}
	return text, ""
}

// resourcePattern parses a pattern of resource indicators (RFC 8707 section 2).
func resourcePattern(text string) (parsed, problem string) {
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"\#<>`, r) }) {
		return "", "has an element that is no resource"
	}
	return text, ""
}

// callerID parses the unique id of a role or user, such as AROAEXAMPLEID.
func callerID(text string) (parsed, problem string) {
	if len(text) > 128 || !only(text, letters+digits) {
		return "", "has an element that is no unique id such as AROAEXAMPLEID"
	}
	return text, ""
}

const callerForm = "; write aws:111122223333:role/NAME, arn:aws:iam::111122223333:role/NAME, direct:ALIAS, deliver:SECRET, source:queue/NAME, source:bus or source:schedule"

// callerPattern parses a pattern of callers: normalized callers or IAM ARNs.
func callerPattern(text string) (parsed, problem string) {
	switch {
	case !only(text, letters+digits+"_+=,.@/:*-"):
		return "", "has an element that is no caller" + callerForm
	case strings.HasPrefix(text, "arn:"):
		return callerARN(text)
	}
	return possible(text)
}

// Caller normalizes text, which is a normalized caller or the ARN of an IAM role or user. The
// error is a predicate, such as "must name one caller", and does not contain text.
func Caller(text string) (string, error) {
	caller, problem := callerPattern(text)
	if problem == "" && strings.Contains(text, "*") {
		problem = "must name one caller"
	}
	if problem != "" {
		return "", errors.New(strings.TrimPrefix(problem, "has an element that "))
	}
	return caller, nil
}

// possible refuses patterns that cannot match any caller, because they are mistakes.
func possible(text string) (parsed, problem string) {
	ok := text == "direct" || text == "sam-local"
	switch parts := strings.Split(text, ":"); len(parts) {
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
	return text, ""
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
	ofKind := func(text string) bool { return index.MatchSegment(kind, text) }
	return slices.ContainsFunc([]string{"role", "user", "federated-user"}, ofKind) && name != "" && !strings.Contains(name, "/")
}

// callerARN normalizes an IAM ARN. It removes the path before the name: names are unique in
// an account, and the ARN of a session does not contain the path. It refuses a star in an
// ARN with a path, because the pattern would match names with other paths too.
func callerARN(text string) (parsed, problem string) {
	parts := strings.Split(text, ":")
	if len(parts) == 6 && parts[2] == "sts" && strings.HasPrefix(parts[5], "assumed-role/") {
		return "", "has an element that names a session, which the caller chooses: name the role"
	}
	if len(parts) != 6 || parts[2] != "iam" || parts[3] != "" || parts[1] == "" || parts[4] == "" {
		return "", "has an element that is no ARN of a role or a user" + callerForm
	}
	account := parts[1] + ":" + parts[4] + ":"
	if parts[5] == "root" {
		return possible(account + "root")
	}
	kind, name, _ := strings.Cut(parts[5], "/")
	last := strings.LastIndexByte(name, '/')
	switch {
	case kind != "role" && kind != "user", name == "" || strings.HasSuffix(name, "/"):
		return "", "has an element that is no ARN of a role or a user" + callerForm
	case last >= 0 && strings.Contains(name, "*"):
		return "", "has an element with both a path and a *, but the path of a caller is unknown: leave the path out"
	}
	return possible(account + kind + "/" + name[last+1:])
}
