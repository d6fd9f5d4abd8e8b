package apigateway

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"strings"
)

// identity is a Principal with what the event says about it.
type identity struct {
	Principal
	account string // of the principal, not of the API
	caller  string // unique id: AROA...:session of an assumed role, AIDA... of a user
}

func newIdentity(p Principal) (identity, error) {
	if p.AccessKeyID == "" || p.SecretAccessKey == "" {
		return identity{}, errors.New("access key id or secret access key is empty")
	}
	arn := strings.SplitN(p.ARN, ":", 6)
	if len(arn) != 6 || arn[0] != "arn" || arn[4] == "" {
		return identity{}, errors.New("malformed ARN")
	}
	resource := strings.Split(arn[5], "/")
	switch {
	case arn[2] == "sts" && resource[0] == "assumed-role" && len(resource) == 3:
		return identity{p, arn[4], uniqueID("AROA", arn[4]+"/"+resource[1]) + ":" + resource[2]}, nil
	case arn[2] == "iam" && resource[0] == "user" && len(resource) > 1:
		return identity{p, arn[4], uniqueID("AIDA", p.ARN)}, nil
	}
	return identity{}, errors.New("ARN is neither an assumed role's session nor a user")
}

// uniqueID makes the same id from the same name, in the shape of IAM's.
func uniqueID(prefix, name string) string {
	sum := sha256.Sum256([]byte(name))
	return prefix + base32.StdEncoding.EncodeToString(sum[:])[:17]
}

// authorize asks the caller's policy for execute-api:Invoke on the path as it was
// received, not decoded.
func (s *Server) authorize(c *call) *fault {
	resource := "/" + s.cfg.Stage + "/POST" + strings.TrimPrefix(c.path, "/"+s.cfg.Stage)
	prefix := "arn:aws:execute-api:" + s.cfg.Region + ":"
	arn := prefix + s.cfg.Account + ":" + s.cfg.APIID + resource
	denied := matchesAny(c.who.Deny, arn)
	if !denied && matchesAny(c.who.Allow, arn) {
		return nil
	}
	// AWS hides all but the last four digits of the API's account.
	account := s.cfg.Account
	masked := "********" + account[max(0, len(account)-4):]
	message := "User: " + c.who.ARN + " is not authorized to perform: execute-api:Invoke on resource: " +
		prefix + masked + ":" + s.cfg.APIID + resource
	if denied {
		message += " with an explicit deny"
	}
	return accessDenied(message)
}

func matchesAny(patterns []string, arn string) bool {
	for _, pattern := range patterns {
		if matches(pattern, arn) {
			return true
		}
	}
	return false
}

// matches is IAM's wildcard match: * stands for any characters, "/" included, and ?
// for exactly one. It takes time proportional to the product of the lengths.
func matches(pattern, s string) bool {
	p, i := 0, 0
	star, mark := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
