package secretsmanager

import (
	"encoding/json"
	"time"
)

// state is a secret as [Server.State] encodes it.
type state struct {
	Name, ARN, KmsKeyID       string
	Tags                      []tag
	Created, Changed, Deleted time.Time
	Versions                  []versionState
}

type versionState struct {
	ID, Text string
	Created  time.Time
	Stages   []string
}

// State returns all secrets with their versions as JSON, for [Server.Restore]. The order is
// that of the names.
func (s *Server) State() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]state, len(s.secrets))
	for name, c := range s.secrets {
		one := state{Name: c.name, ARN: c.arn, KmsKeyID: c.kmsKeyID, Tags: c.tags, Created: c.created, Changed: c.changed, Deleted: c.deleted}
		for _, v := range c.versions {
			one.Versions = append(one.Versions, versionState{v.id, v.text, v.created, v.stages})
		}
		all[name] = one
	}
	return json.Marshal(all)
}

// Restore replaces all secrets by those of [Server.State].
func (s *Server) Restore(text []byte) error {
	var all map[string]state
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets = make(map[string]*secret, len(all))
	for name, one := range all {
		c := &secret{name: one.Name, arn: one.ARN, kmsKeyID: one.KmsKeyID, tags: one.Tags, created: one.Created, changed: one.Changed, deleted: one.Deleted}
		for _, v := range one.Versions {
			c.versions = append(c.versions, &version{v.ID, v.Text, v.Created, v.Stages})
		}
		s.secrets[name] = c
	}
	return nil
}

// Has reports whether there is a secret of that name.
func (s *Server) Has(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.secrets[name] != nil
}
