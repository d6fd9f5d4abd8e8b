package secretsmanager

import (
	"slices"

	"tokenvendor/scripts/local/awsjson"
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
	CreatedDate   awsjson.Time
}

func (s *Server) getSecretValue(in getInput) (any, *apiError) { return s.value(in) }

func (s *Server) value(in getInput) (valueOutput, *apiError) {
	c, failure := s.findLive(in.SecretID)
	if failure != nil {
		return valueOutput{}, failure
	}
	v, failure := c.read(in.VersionID, in.VersionStage)
	if failure != nil {
		return valueOutput{}, failure
	}
	return valueOutput{c.arn, c.name, v.id, v.text, v.binary, slices.Clone(v.stages), awsjson.Time(v.created)}, nil
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
		return nil, fail(notFound, "Secrets Manager can't find the specified secret value for the version or staging label.")
	}
	if stage != "" && !slices.Contains(v.stages, stage) {
		return nil, fail(invalidRequest, "The version does not have the staging label.")
	}
	return v, nil
}

type batchInput struct {
	SecretIDList []string `json:"SecretIdList"`
	query
}

type batchError struct {
	SecretID  string `json:"SecretId"`
	ErrorCode string
	Message   string
}

// maxBatch is how many secrets one BatchGetSecretValue may ask for.
const maxBatch = 20

// batchGetSecretValue answers with what can be read and says what can't.
func (s *Server) batchGetSecretValue(in batchInput) (any, *apiError) {
	ids, next, failure := s.batch(in)
	if failure != nil {
		return nil, failure
	}
	values, failures := []valueOutput{}, []batchError{}
	for _, id := range ids {
		out, failure := s.value(getInput{SecretID: id})
		if failure != nil {
			failures = append(failures, batchError{id, failure.Code, failure.Message})
			continue
		}
		values = append(values, out)
	}
	return withNext(map[string]any{"SecretValues": values, "Errors": failures}, next), nil
}

// batch returns what is listed, or a page of what passes the filters.
func (s *Server) batch(in batchInput) (ids []string, next string, failure *apiError) {
	listed, filtered := len(in.SecretIDList) > 0, len(in.Filters) > 0
	switch {
	case listed == filtered, len(in.SecretIDList) > maxBatch:
		return nil, "", fail(invalidParameter, "give SecretIdList, at most 20, or Filters")
	case listed && (in.MaxResults != nil || in.NextToken != ""):
		return nil, "", fail(invalidParameter, "MaxResults and NextToken go with Filters")
	case listed:
		return in.SecretIDList, "", nil
	}
	in.IncludePlannedDeletion, in.SortOrder = false, "" // not members of this operation
	page, next, failure := s.page(in.query, maxBatch)
	for _, c := range page {
		ids = append(ids, c.name)
	}
	return ids, next, failure
}

type describeInput struct {
	SecretID string `json:"SecretId"`
}

type description struct {
	ARN, Name        string
	Description      string              `json:",omitempty"`
	KmsKeyID         string              `json:"KmsKeyId,omitempty"`
	CreatedDate      awsjson.Time        `json:"CreatedDate"`
	LastChangedDate  awsjson.Time        `json:"LastChangedDate"`
	DeletedDate      *awsjson.Time       `json:",omitempty"`
	Tags             []tag               `json:",omitempty"`
	VersionsToStages map[string][]string `json:"VersionIdsToStages,omitempty"`
	// ListSecrets calls the same by another name.
	ListedVersions map[string][]string `json:"SecretVersionsToStages,omitempty"`
}

func describe(c *secret) description {
	d := description{
		ARN: c.arn, Name: c.name, Description: c.description, KmsKeyID: c.kmsKeyID,
		CreatedDate: awsjson.Time(c.created), LastChangedDate: awsjson.Time(c.changed), Tags: slices.Clone(c.tags),
	}
	if !c.deleted.IsZero() {
		t := awsjson.Time(c.deleted)
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
