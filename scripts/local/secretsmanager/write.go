package secretsmanager

import (
	"slices"
	"time"

	"tokenvendor/scripts/local/awsjson"
)

type createInput struct {
	Name               string
	ClientRequestToken string
	SecretString       *string
	KmsKeyID           string `json:"KmsKeyId"`
	Tags               []tag
}

type versionOutput struct {
	ARN, Name     string
	VersionID     string   `json:"VersionId,omitempty"`
	VersionStages []string `json:",omitempty"`
}

func (s *Server) createSecret(in createInput) (any, *apiError) {
	if !validName(in.Name) {
		return nil, fail(invalidParameter, "Invalid name.")
	}
	id, failure := tokenOrNew(in.ClientRequestToken)
	if failure == nil {
		failure = checkText(in.SecretString)
	}
	if failure != nil {
		return nil, failure
	}
	if c := s.secrets[in.Name]; c != nil {
		return c.createAgain(id, in.SecretString)
	}
	now := time.Now()
	c := &secret{name: in.Name, arn: s.newARN(in.Name), kmsKeyID: in.KmsKeyID, tags: in.Tags, created: now, changed: now}
	s.secrets[in.Name] = c
	out := versionOutput{ARN: c.arn, Name: c.name}
	if in.SecretString != nil {
		c.add(&version{id: id, text: *in.SecretString, created: now}, []string{current})
		out.VersionID = id
	}
	return out, nil
}

// createAgain answers the creation of a secret that exists. The same creation succeeds.
func (c *secret) createAgain(id string, text *string) (any, *apiError) {
	if !c.deleted.IsZero() {
		return nil, fail(invalidRequest, "You can't create this secret because a secret with this name is already scheduled for deletion.")
	}
	if old := c.version(id); old != nil && text != nil && *text == old.text {
		return versionOutput{ARN: c.arn, Name: c.name, VersionID: id}, nil
	}
	return nil, fail(exists, "The operation failed because the secret already exists.")
}

type putInput struct {
	SecretID           string `json:"SecretId"`
	ClientRequestToken string
	SecretString       *string
	VersionStages      []string
}

func (s *Server) putSecretValue(in putInput) (any, *apiError) {
	c, failure := s.findLive(in.SecretID)
	if failure != nil {
		return nil, failure
	}
	id, failure := tokenOrNew(in.ClientRequestToken)
	if failure == nil {
		failure = checkText(in.SecretString)
	}
	switch {
	case failure != nil:
		return nil, failure
	case in.SecretString == nil:
		return nil, fail(invalidParameter, "SecretString is required")
	case slices.Contains(in.VersionStages, ""):
		return nil, fail(invalidParameter, "a staging label is empty")
	}
	stages := in.VersionStages
	if len(stages) == 0 {
		stages = []string{current}
	}
	return c.put(id, *in.SecretString, stages)
}

// put adds a version. Versions do not change: the same id with the same text has no effect, and
// with another text it is an error.
func (c *secret) put(id, text string, stages []string) (any, *apiError) {
	v := c.version(id)
	if v != nil && v.text != text {
		return nil, fail(exists, "You can't use ClientRequestToken of an existing version with another value.")
	}
	if v == nil {
		// The first version always gets AWSCURRENT.
		if len(c.versions) == 0 && !slices.Contains(stages, current) {
			stages = append(slices.Clone(stages), current)
		}
		v = &version{id: id, text: text, created: time.Now()}
		c.add(v, stages)
		c.changed = v.created
	}
	return versionOutput{ARN: c.arn, Name: c.name, VersionID: id, VersionStages: slices.Clone(v.stages)}, nil
}

// updateSecret is not idempotent, unlike putSecretValue: the ClientRequestToken of an existing
// version is an error also with the same value (API_UpdateSecret.html).
func (s *Server) updateSecret(in struct {
	SecretID           string `json:"SecretId"`
	ClientRequestToken string
	SecretString       *string
	KmsKeyID           *string `json:"KmsKeyId"`
}) (any, *apiError) {
	c, failure := s.findLive(in.SecretID)
	if failure == nil {
		failure = checkText(in.SecretString)
	}
	if failure != nil {
		return nil, failure
	}
	id, failure := tokenOrNew(in.ClientRequestToken)
	if failure != nil {
		return nil, failure
	}
	var out any = versionOutput{ARN: c.arn, Name: c.name}
	if in.SecretString != nil {
		if c.version(id) != nil {
			return nil, fail(exists, "A version with this ClientRequestToken already exists.")
		}
		out, failure = c.put(id, *in.SecretString, []string{current})
	}
	if in.KmsKeyID != nil {
		c.kmsKeyID = *in.KmsKeyID
	}
	c.changed = time.Now()
	return out, failure
}

type stageInput struct {
	SecretID            string `json:"SecretId"`
	VersionStage        string
	MoveToVersionID     string `json:"MoveToVersionId"`
	RemoveFromVersionID string `json:"RemoveFromVersionId"`
}

// updateSecretVersionStage moves a label. A caller that moves a label away from a version must
// name this version, so that a rotation cannot undo another one without noticing.
func (s *Server) updateSecretVersionStage(in stageInput) (any, *apiError) {
	c, failure := s.findLive(in.SecretID)
	if failure != nil {
		return nil, failure
	}
	to, from := c.version(in.MoveToVersionID), c.version(in.RemoveFromVersionID)
	switch {
	case in.VersionStage == "" || in.MoveToVersionID == "" && in.RemoveFromVersionID == "":
		return nil, fail(invalidParameter, "VersionStage is required, and MoveToVersionId or RemoveFromVersionId")
	case in.MoveToVersionID != "" && to == nil, in.RemoveFromVersionID != "" && from == nil:
		return nil, fail(notFound, "Secrets Manager can't find the specified secret version.")
	}
	if failure := c.move(in.VersionStage, to, from); failure != nil {
		return nil, failure
	}
	c.changed = time.Now()
	return versionOutput{ARN: c.arn, Name: c.name}, nil
}

// move moves a label to a version from another one. Nil: no version.
func (c *secret) move(stage string, to, from *version) *apiError {
	owner := c.staged(stage)
	switch {
	case from != nil && from != owner:
		return fail(invalidParameter, "The staging label is not attached to the version in RemoveFromVersionId.")
	case to != nil && owner != nil && owner != to && from == nil:
		return fail(invalidParameter, "The staging label is attached to another version; RemoveFromVersionId must name it.")
	case to == nil && stage == current:
		return fail(invalidParameter, "AWSCURRENT can be moved to another version, but not removed.")
	case to != nil:
		c.attach(stage, to)
	default:
		from.drop(stage)
	}
	return nil
}

const defaultWindow = 30 // days

type deleteOutput struct {
	ARN, Name    string
	DeletionDate awsjson.Time
}

func (s *Server) deleteSecret(in struct {
	SecretID                   string `json:"SecretId"`
	RecoveryWindowInDays       *int
	ForceDeleteWithoutRecovery bool
}) (any, *apiError) {
	days := defaultWindow
	if in.RecoveryWindowInDays != nil {
		days = *in.RecoveryWindowInDays
	}
	if days < 7 || days > 30 || in.ForceDeleteWithoutRecovery && in.RecoveryWindowInDays != nil {
		return nil, fail(invalidParameter, "RecoveryWindowInDays must be 7 to 30, and absent with ForceDeleteWithoutRecovery")
	}
	if in.ForceDeleteWithoutRecovery {
		return s.forceDelete(in.SecretID)
	}
	c, failure := s.findLive(in.SecretID)
	if failure != nil {
		return nil, failure
	}
	c.deleted = time.Now().AddDate(0, 0, days)
	return deleteOutput{c.arn, c.name, awsjson.Time(c.deleted)}, nil
}

// forceDelete also succeeds without a secret, so that it can be repeated. AWS does not specify
// the ARN of this answer.
func (s *Server) forceDelete(id string) (any, *apiError) {
	c, failure := s.find(id)
	now := awsjson.Time(time.Now())
	switch {
	case failure != nil && failure.Code == notFound:
		return deleteOutput{id, id, now}, nil
	case failure != nil:
		return nil, failure
	}
	delete(s.secrets, c.name)
	return deleteOutput{c.arn, c.name, now}, nil
}

func (s *Server) restoreSecret(in idInput) (any, *apiError) {
	c, failure := s.find(in.SecretID)
	if failure != nil {
		return nil, failure
	}
	c.deleted = time.Time{}
	return versionOutput{ARN: c.arn, Name: c.name}, nil
}
