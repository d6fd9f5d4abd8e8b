package apigateway

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"slices"
	"strings"
)

// identity is a Principal with the members that the event adds.
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

// uniqueID derives an id in the form of IAM's from a name.
func uniqueID(prefix, name string) string {
	sum := sha256.Sum256([]byte(name))
	return prefix + base32.StdEncoding.EncodeToString(sum[:])[:17]
}

// authorize checks the caller's permission execute-api:Invoke for the path as received,
// not decoded.
func (s *Server) authorize(c *call) *fault {
	resource := ":" + s.cfg.APIID + "/" + s.cfg.Stage + "/POST" + strings.TrimPrefix(c.path, "/"+s.cfg.Stage)
	prefix := "arn:aws:execute-api:" + s.cfg.Region + ":"
	arn := prefix + s.cfg.Account + resource
	if slices.ContainsFunc(c.who.Allow, func(pattern string) bool { return matches(pattern, arn) }) {
		return nil
	}
	// AWS hides all but the last four digits of the API's account.
	account := s.cfg.Account
	masked := "********" + account[max(0, len(account)-4):]
	return accessDenied("User: " + c.who.ARN + " is not authorized to perform: execute-api:Invoke on resource: " + prefix + masked + resource)
}

// matches reports whether an element of Allow matches an ARN.
func matches(pattern, arn string) bool {
	prefix, wildcard := strings.CutSuffix(pattern, "*")
	return pattern == arn || wildcard && strings.HasPrefix(arn, prefix)
}
