package secretsmanager

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

type getInput struct {
	SecretID     string `json:"SecretId"`
	VersionID    string `json:"VersionId"`
	VersionStage string
}

type valueOutput struct {
	ARN, Name     string
	VersionID     string   `json:"VersionId"`
	SecretString  *string  `json:",omitempty"`
	SecretBinary  []byte   `json:",omitempty"`
	VersionStages []string `json:",omitempty"`
	CreatedDate   seconds
}

func (s *Server) getSecretValue(in getInput) (any, *apiError) {
	c, failure := s.findLive(in.SecretID)
	if failure != nil {
		return nil, failure
	}
	v, failure := c.read(in.VersionID, in.VersionStage)
	if failure != nil {
		return nil, failure
	}
	return outputOf(c, v), nil
}

// read returns the version of an id, of a stage, or of both when they agree.
func (c *secret) read(id, stage string) (*version, *apiError) {
	if id == "" && stage == "" {
		stage = current
	}
	v := c.version(id)
	if id == "" {
		v = c.staged(stage)
	}
	if v == nil {
		return nil, &apiError{notFound, "Secrets Manager can't find the specified secret value for the version or staging label."}
	}
	if stage != "" && !slices.Contains(v.stages, stage) {
		return nil, &apiError{invalidRequest, "The version does not have the staging label."}
	}
	return v, nil
}

func outputOf(c *secret, v *version) valueOutput {
	return valueOutput{c.arn, c.name, v.id, v.text, v.binary, slices.Clone(v.stages), seconds(v.created)}
}

type batchInput struct {
	SecretIDList []string `json:"SecretIdList"`
	Filters      []filter
}

type batchError struct {
	SecretID  string `json:"SecretId"`
	ErrorCode string
	Message   string
}

// batchGetSecretValue answers with what can be read and says what can't.
func (s *Server) batchGetSecretValue(in batchInput) (any, *apiError) {
	if len(in.SecretIDList) > 20 || (len(in.SecretIDList) == 0) == (len(in.Filters) == 0) {
		return nil, &apiError{invalidParameter, "give SecretIdList, at most 20, or Filters"}
	}
	ids := in.SecretIDList
	if len(ids) == 0 {
		for _, c := range s.sorted(in.Filters, false) {
			ids = append(ids, c.name)
		}
	}
	values, failures := []valueOutput{}, []batchError{}
	for _, id := range ids {
		out, failure := s.getSecretValue(getInput{SecretID: id})
		if failure != nil {
			failures = append(failures, batchError{id, failure.code, failure.message})
			continue
		}
		values = append(values, out.(valueOutput))
	}
	return map[string]any{"SecretValues": values, "Errors": failures}, nil
}

type describeInput struct {
	SecretID string `json:"SecretId"`
}

type description struct {
	ARN, Name        string
	Description      string              `json:",omitempty"`
	KmsKeyID         string              `json:"KmsKeyId,omitempty"`
	CreatedDate      seconds             `json:"CreatedDate"`
	LastChangedDate  seconds             `json:"LastChangedDate"`
	DeletedDate      *seconds            `json:",omitempty"`
	Tags             []tag               `json:",omitempty"`
	RotationEnabled  bool                `json:"RotationEnabled"`
	VersionsToStages map[string][]string `json:"VersionIdsToStages,omitempty"`
	// ListSecrets calls the same by another name.
	ListedVersions map[string][]string `json:"SecretVersionsToStages,omitempty"`
}

func describe(c *secret) description {
	d := description{
		ARN: c.arn, Name: c.name, Description: c.description, KmsKeyID: c.kmsKeyID,
		CreatedDate: seconds(c.created), LastChangedDate: seconds(c.changed), Tags: c.tags,
	}
	if !c.deleted.IsZero() {
		t := seconds(c.deleted)
		d.DeletedDate = &t
	}
	return d
}

func (s *Server) describeSecret(in describeInput) (any, *apiError) {
	c, failure := s.find(in.SecretID)
	if failure != nil {
		return nil, failure
	}
	d := describe(c)
	d.VersionsToStages = c.stages()
	return d, nil
}

type listInput struct {
	MaxResults             int
	NextToken              string
	Filters                []filter
	IncludePlannedDeletion bool
}

type filter struct {
	Key    string
	Values []string
}

// listSecrets pages by name; the token is the place to go on at.
func (s *Server) listSecrets(in listInput) (any, *apiError) {
	if in.MaxResults == 0 {
		in.MaxResults = 100
	}
	from, err := strconv.Atoi(in.NextToken)
	all := s.sorted(in.Filters, in.IncludePlannedDeletion)
	if in.NextToken != "" && (err != nil || from < 0 || from > len(all)) {
		return nil, &apiError{"InvalidNextTokenException", "NextToken is not one of ours"}
	}
	if in.MaxResults < 1 || in.MaxResults > 100 {
		return nil, &apiError{invalidParameter, "MaxResults must be 1 to 100"}
	}
	to := min(from+in.MaxResults, len(all))
	list := make([]description, 0, to-from)
	for _, c := range all[from:to] {
		d := describe(c)
		d.ListedVersions = c.stages()
		list = append(list, d)
	}
	out := map[string]any{"SecretList": list}
	if to < len(all) {
		out["NextToken"] = fmt.Sprint(to)
	}
	return out, nil
}

// sorted returns the secrets that pass all filters, by name.
func (s *Server) sorted(filters []filter, withDeleted bool) []*secret {
	var list []*secret
	for _, name := range slices.Sorted(maps.Keys(s.secrets)) {
		c := s.secrets[name]
		if (withDeleted || c.deleted.IsZero()) && passes(c, filters) {
			list = append(list, c)
		}
	}
	return list
}

// passes: each filter needs one of its values as a prefix; those on tags
// compare whole keys or values.
func passes(c *secret, filters []filter) bool {
	for _, f := range filters {
		if !slices.ContainsFunc(f.Values, func(want string) bool { return f.matches(c, want) }) {
			return false
		}
	}
	return true
}

func (f filter) matches(c *secret, want string) bool {
	switch f.Key {
	case "name", "all":
		return strings.HasPrefix(c.name, want)
	case "description":
		return strings.HasPrefix(c.description, want)
	case "tag-key":
		return slices.ContainsFunc(c.tags, func(t tag) bool { return t.Key == want })
	case "tag-value":
		return slices.ContainsFunc(c.tags, func(t tag) bool { return t.Value == want })
	}
	return false
}
