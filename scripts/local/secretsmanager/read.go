package secretsmanager

import (
	"maps"
	"slices"
	"strings"

	"tokenvendor/scripts/local/awsjson"
)

type getInput struct {
	SecretID     string `json:"SecretId"`
	VersionID    string `json:"VersionId"`
	VersionStage string
}

type valueOutput struct {
	ARN, Name     string
	VersionID     string `json:"VersionId"`
	SecretString  string
	VersionStages []string `json:",omitempty"`
	CreatedDate   awsjson.Time
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
	return valueOutput{c.arn, c.name, v.id, v.text, slices.Clone(v.stages), awsjson.Time(v.created)}, nil
}

// read returns the version with an id, with a label, or with both.
func (c *secret) read(id, stage string) (*version, *apiError) {
	if id == "" && stage == "" {
		stage = current
	}
	v := c.version(id)
	if id == "" {
		v = c.staged(stage)
	}
	if v == nil {
		return nil, fail(notFound, "Secrets Manager can't find the specified secret value for the version or staging label.")
	}
	if stage != "" && !slices.Contains(v.stages, stage) {
		return nil, fail(invalidRequest, "The version does not have the staging label.")
	}
	return v, nil
}

type idInput struct {
	SecretID string `json:"SecretId"`
}

type description struct {
	ARN, Name       string
	KmsKeyID        string         `json:"KmsKeyId,omitempty"`
	CreatedDate     awsjson.Time   `json:"CreatedDate"`
	LastChangedDate awsjson.Time   `json:"LastChangedDate"`
	DeletedDate     *awsjson.Time  `json:",omitempty"`
	Tags            []tag          `json:",omitempty"`
	Stages          versionsStages `json:"VersionIdsToStages,omitempty"`
	// ListedStages has the name of Stages in ListSecrets.
	ListedStages versionsStages `json:"SecretVersionsToStages,omitempty"`
}

// versionsStages has the labels of the versions that have any, by version id.
type versionsStages map[string][]string

func (c *secret) describe() (description, versionsStages) {
	d := description{
		ARN: c.arn, Name: c.name, KmsKeyID: c.kmsKeyID,
		CreatedDate: awsjson.Time(c.created), LastChangedDate: awsjson.Time(c.changed), Tags: c.tags,
	}
	if !c.deleted.IsZero() {
		t := awsjson.Time(c.deleted)
		d.DeletedDate = &t
	}
	stages := make(versionsStages)
	for _, v := range c.versions {
		if len(v.stages) > 0 {
			stages[v.id] = slices.Clone(v.stages)
		}
	}
	return d, stages
}

func (s *Server) describeSecret(in idInput) (any, *apiError) {
	c, failure := s.find(in.SecretID)
	if failure != nil {
		return nil, failure
	}
	d, stages := c.describe()
	d.Stages = stages
	return d, nil
}

// maxPage is the most secrets in a page of ListSecrets.
const maxPage = 100

// listSecrets returns a page of secrets, by name. The only filter is that of names, whose values
// are prefixes. A token is the last name of the page before.
func (s *Server) listSecrets(in struct {
	Filters []struct {
		Key    string
		Values []string
	}
	MaxResults *int
	NextToken  string
}) (any, *apiError) {
	size := maxPage
	if in.MaxResults != nil {
		size = *in.MaxResults
	}
	if size < 1 || size > maxPage {
		return nil, fail(invalidParameter, "MaxResults must be 1 to 100")
	}
	for _, f := range in.Filters {
		if f.Key != "name" || len(f.Values) == 0 {
			return nil, fail(invalidParameter, "only filters with the Key name and with Values are supported")
		}
	}
	list := []description{}
	for _, name := range slices.Sorted(maps.Keys(s.secrets)) {
		listed := s.secrets[name].deleted.IsZero() && name > in.NextToken
		for _, f := range in.Filters {
			listed = listed && slices.ContainsFunc(f.Values, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		}
		if listed && len(list) == size {
			return map[string]any{"SecretList": list, "NextToken": list[size-1].Name}, nil
		}
		if listed {
			d, stages := s.secrets[name].describe()
			d.ListedStages = stages
			list = append(list, d)
		}
	}
	return map[string]any{"SecretList": list}, nil
}
