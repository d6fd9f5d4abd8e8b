package secretsmanager

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The staging labels that Secrets Manager itself moves.
const (
	current  = "AWSCURRENT"
	previous = "AWSPREVIOUS"
)

const (
	maxValue = 65536 // bytes
	// maxVersions is how many versions a secret keeps. If there are more, the oldest ones
	// without a label are dropped. AWS keeps those for at least a day.
	maxVersions = 100
)

// secret is a secret with its versions, the oldest first.
type secret struct {
	name, arn string
	kmsKeyID  string
	tags      []tag
	created   time.Time
	changed   time.Time
	deleted   time.Time // end of the recovery window; zero: not deleted
	versions  []*version
}

type tag struct{ Key, Value string }

// version is one value of a secret. Only its stages change.
type version struct {
	id, text string
	created  time.Time
	stages   []string
}

// checkText checks the SecretString of an input. Nil: there is none.
func checkText(text *string) *apiError {
	switch {
	case text == nil:
		return nil
	case *text == "":
		return fail(invalidParameter, "the value is empty")
	case len(*text) > maxValue:
		return fail(invalidParameter, "the value is longer than 65536 bytes")
	}
	return nil
}

// find returns the secret with a name or an ARN. AWS also accepts an ARN without its suffix.
func (s *Server) find(id string) (*secret, *apiError) {
	if id == "" {
		return nil, fail(invalidParameter, "SecretId must have 1 to 2048 characters")
	}
	name, isARN := strings.CutPrefix(id, s.arn(""))
	if isARN {
		name = name[:max(0, len(name)-suffixLength)]
	}
	c := s.secrets[name]
	if c == nil || isARN && c.arn != id {
		return nil, fail(notFound, "Secrets Manager can't find the specified secret.")
	}
	return c, nil
}

// findLive is find for operations that a deleted secret does not have.
func (s *Server) findLive(id string) (*secret, *apiError) {
	c, failure := s.find(id)
	if failure == nil && !c.deleted.IsZero() {
		return nil, fail(invalidRequest, "You can't perform this operation on the secret because it was marked for deletion.")
	}
	return c, failure
}

// version returns the version with an id. Nil: there is none.
func (c *secret) version(id string) *version {
	for _, v := range c.versions {
		if v.id == id {
			return v
		}
	}
	return nil
}

// staged returns the version with a label. Nil: there is none.
func (c *secret) staged(stage string) *version {
	for _, v := range c.versions {
		if slices.Contains(v.stages, stage) {
			return v
		}
	}
	return nil
}

// attach moves a label to v. A version that loses AWSCURRENT gets AWSPREVIOUS.
func (c *secret) attach(stage string, v *version) {
	old := c.staged(stage)
	if old == v {
		return
	}
	if old != nil {
		old.drop(stage)
	}
	v.stages = append(v.stages, stage)
	if stage == current && old != nil {
		v.drop(previous)
		c.attach(previous, old)
	}
}

func (v *version) drop(stage string) {
	v.stages = slices.DeleteFunc(v.stages, func(s string) bool { return s == stage })
}

// add adds a version with its labels and drops versions if there are too many.
func (c *secret) add(v *version, stages []string) {
	c.versions = append(c.versions, v)
	for _, stage := range stages {
		c.attach(stage, v)
	}
	for i := 0; len(c.versions) > maxVersions && i < len(c.versions); {
		if len(c.versions[i].stages) == 0 {
			c.versions = slices.Delete(c.versions, i, i+1)
		} else {
			i++
		}
	}
}

func (s *Server) arn(name string) string {
	return "arn:aws:secretsmanager:" + s.cfg.Region + ":" + s.cfg.Account + ":secret:" + name
}

// suffixLength is the length of the hyphen and the six characters that AWS appends to a name
// in an ARN, so that a new secret never has the ARN of a deleted one.
const suffixLength = 7

func (s *Server) newARN(name string) string {
	return s.arn(name) + "-" + rand.Text()[:suffixLength-1]
}

// validName reports whether a name has only letters, digits and /_+=.@- (CreateSecret in the
// API reference).
func validName(name string) bool {
	return name != "" && len(name) <= 512 && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("/_+=.@-", r)
	})
}

// tokenOrNew returns the id of a new version: the ClientRequestToken, or a new id if it is
// empty.
func tokenOrNew(token string) (string, *apiError) {
	if token == "" {
		return newUUID(), nil
	}
	if len(token) < 32 || len(token) > 64 {
		return "", fail(invalidParameter, "ClientRequestToken must have 32 to 64 characters")
	}
	return token, nil
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
