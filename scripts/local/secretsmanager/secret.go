package secretsmanager

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"maps"
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
	// maxValue is the largest value in bytes.
	maxValue = 65536
	// maxVersions is how many versions a secret keeps; above it those without a
	// label go, the oldest first. AWS keeps them for a day at least; here nobody
	// waits that long to see one go.
	maxVersions = 100
	// maxStages is how many labels a version may have.
	maxStages = 20
)

// secret is a secret with its versions.
type secret struct {
	name, arn   string
	description string
	kmsKeyID    string
	tags        []tag
	created     time.Time
	changed     time.Time
	deleted     time.Time // when it will be gone; zero: it stays
	versions    []*version
}

// version is one value of a secret. It holds either text or binary.
type version struct {
	id      string
	text    *string
	binary  []byte
	created time.Time
	stages  []string
}

// value is the part of an input that carries a value.
type value struct {
	SecretString *string
	SecretBinary []byte
}

func (v value) given() bool { return v.SecretString != nil || v.SecretBinary != nil }

func (v value) check() *apiError {
	switch {
	case v.SecretString != nil && v.SecretBinary != nil:
		return fail(invalidParameter, "give SecretString or SecretBinary, not both")
	case v.SecretString != nil && len(*v.SecretString) > maxValue, len(v.SecretBinary) > maxValue:
		return fail(invalidParameter, "the value is longer than 65536 bytes")
	case v.SecretString != nil && *v.SecretString == "", v.SecretBinary != nil && len(v.SecretBinary) == 0:
		return fail(invalidParameter, "the value is empty")
	}
	return nil
}

func (v value) equals(other *version) bool {
	if v.SecretString != nil {
		return other.text != nil && *v.SecretString == *other.text
	}
	return other.text == nil && bytes.Equal(v.SecretBinary, other.binary)
}

func (s *Server) newVersion(id string, v value) *version {
	return &version{id: id, text: v.SecretString, binary: v.SecretBinary, created: s.cfg.Now()}
}

// find returns the secret of a name, an ARN, or an ARN without its suffix. What
// ends like a suffix is taken for one, as AWS does: the partial ARN of a name
// such as my-secret finds nothing, and never another secret.
func (s *Server) find(id string) (*secret, *apiError) {
	if id == "" || len(id) > 2048 {
		return nil, fail(invalidParameter, "SecretId must have 1 to 2048 characters")
	}
	name, isARN := strings.CutPrefix(id, s.arnPrefix())
	complete := isARN && endsInSuffix(name)
	if complete {
		name = name[:len(name)-suffixLength]
	}
	c := s.secrets[name]
	if c == nil || complete && c.arn != id {
		return nil, fail(notFound, "Secrets Manager can't find the specified secret.")
	}
	return c, nil
}

// findLive is find for operations that a scheduled deletion forbids.
func (s *Server) findLive(id string) (*secret, *apiError) {
	c, failure := s.find(id)
	if failure == nil && !c.deleted.IsZero() {
		return nil, fail(invalidRequest, "You can't perform this operation on the secret because it was marked for deletion.")
	}
	return c, failure
}

func (c *secret) version(id string) *version {
	for _, v := range c.versions {
		if v.id == id {
			return v
		}
	}
	return nil
}

func (c *secret) staged(stage string) *version {
	for _, v := range c.versions {
		if slices.Contains(v.stages, stage) {
			return v
		}
	}
	return nil
}

// attach gives stage to v and takes it from whoever has it. A version that loses
// AWSCURRENT becomes AWSPREVIOUS.
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

// add adds a version with its labels and forgets old ones without any.
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

func (c *secret) stages() map[string][]string {
	all := make(map[string][]string)
	for _, v := range c.versions {
		if len(v.stages) > 0 {
			all[v.id] = slices.Clone(v.stages) // written after mu is released
		}
	}
	return all
}

// forgetDeleted drops the secrets whose recovery window has ended.
func (s *Server) forgetDeleted() {
	now := s.cfg.Now()
	maps.DeleteFunc(s.secrets, func(_ string, c *secret) bool { return !c.deleted.IsZero() && !now.Before(c.deleted) })
}

func (s *Server) arnPrefix() string {
	return "arn:aws:secretsmanager:" + s.cfg.Region + ":" + s.cfg.Account + ":secret:"
}

// suffixLength is that of the hyphen and the six characters that AWS adds to a
// name, so that a new secret never has the ARN of a deleted one.
const suffixLength = 7

func (s *Server) newARN(name string) string {
	return s.arnPrefix() + name + "-" + rand.Text()[:suffixLength-1]
}

func endsInSuffix(name string) bool {
	at := len(name) - suffixLength
	return at > 0 && name[at] == '-' && !strings.ContainsFunc(name[at+1:], func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	})
}

// goodName: letters, digits and /_+=.@- (CreateSecret in the API reference).
func goodName(name string) bool {
	return name != "" && len(name) <= 512 && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("/_+=.@-", r)
	})
}

// tokenOrNew checks a ClientRequestToken, which becomes the version's id.
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
