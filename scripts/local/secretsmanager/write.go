package secretsmanager

import (
	"slices"
	"time"

	"tokenvendor/scripts/local/awsjson"
)

type createInput struct {
	Name               string
	ClientRequestToken string
	Description        string
	KmsKeyID           string `json:"KmsKeyId"`
	Tags               []tag
	value
}

type versionOutput struct {
	ARN, Name     string
	VersionID     string   `json:"VersionId,omitempty"`
	VersionStages []string `json:",omitempty"`
}

func (s *Server) createSecret(in createInput) (any, *apiError) {
	if !goodName(in.Name) {
		return nil, fail(invalidParameter, "Invalid name.")
	}
	id, failure := tokenOrNew(in.ClientRequestToken)
	if failure == nil {
		failure = in.check()
	}
	if failure != nil {
		return nil, failure
	}
	if c := s.secrets[in.Name]; c != nil {
		return c.createdAlready(id, in.value)
	}
	tags, failure := merge(nil, in.Tags)
	if failure != nil {
		return nil, failure
	}
	now := s.cfg.Now()
	c := &secret{name: in.Name, arn: s.newARN(in.Name), description: in.Description, kmsKeyID: in.KmsKeyID, tags: tags, created: now, changed: now}
	s.secrets[in.Name] = c
	out := versionOutput{ARN: c.arn, Name: c.name}
	if in.given() {
		c.add(s.newVersion(id, in.value), []string{current})
		out.VersionID = id
	}
	return out, nil
}

// createdAlready makes a repeated creation of the same secret succeed.
func (c *secret) createdAlready(id string, v value) (any, *apiError) {
	if !c.deleted.IsZero() {
		return nil, fail(invalidRequest, "You can't create this secret because a secret with this name is already scheduled for deletion.")
	}
	if old := c.version(id); old != nil && v.equals(old) {
		return versionOutput{ARN: c.arn, Name: c.name, VersionID: id}, nil
	}
	return nil, fail(exists, "The operation failed because the secret already exists.")
}

type putInput struct {
	SecretID           string `json:"SecretId"`
	ClientRequestToken string
	VersionStages      []string
	RotationToken      string
	value
}

func (s *Server) putSecretValue(in putInput) (any, *apiError) {
	c, failure := s.findLive(in.SecretID)
	if failure != nil {
		return nil, failure
	}
	id, failure := tokenOrNew(in.ClientRequestToken)
	if failure == nil {
		failure = in.check()
	}
	switch {
	case failure != nil:
		return nil, failure
	case !in.given():
		return nil, fail(invalidParameter, "give SecretString or SecretBinary")
	case len(in.VersionStages) > maxStages:
		return nil, tooManyStages()
	case slices.ContainsFunc(in.VersionStages, badStage):
		return nil, fail(invalidParameter, "a staging label has 1 to 256 characters")
	}
	stages := in.VersionStages
	if len(stages) == 0 {
		stages = []string{current}
	}
	return s.putVersion(c, id, in.value, stages)
}

// putVersion adds a version. The same id with the same value changes nothing,
// with another value it is an error: versions never change.
func (s *Server) putVersion(c *secret, id string, v value, stages []string) (any, *apiError) {
	added := c.version(id)
	if added != nil && !v.equals(added) {
		return nil, fail(exists, "You can't use ClientRequestToken of an existing version with another value.")
	}
	if added == nil {
		// The first version is current whatever it is asked to be.
		if len(c.versions) == 0 && !slices.Contains(stages, current) {
			stages = append(slices.Clone(stages), current)
		}
		added = s.newVersion(id, v)
		c.add(added, stages)
		c.changed = s.cfg.Now()
	}
	return versionOutput{ARN: c.arn, Name: c.name, VersionID: id, VersionStages: slices.Clone(added.stages)}, nil
}

type updateInput struct {
	SecretID           string `json:"SecretId"`
	ClientRequestToken string
	Description        *string
	KmsKeyID           *string `json:"KmsKeyId"`
	value
}

func (s *Server) updateSecret(in updateInput) (any, *apiError) {
	c, failure := s.findLive(in.SecretID)
	if failure == nil {
		failure = in.check()
	}
	if failure != nil {
		return nil, failure
	}
	var out any = versionOutput{ARN: c.arn, Name: c.name}
	if in.given() {
		if out, failure = s.updateValue(c, in); failure != nil {
			return nil, failure
		}
	}
	if in.Description != nil {
		c.description = *in.Description
	}
	if in.KmsKeyID != nil {
		c.kmsKeyID = *in.KmsKeyID
	}
	c.changed = s.cfg.Now()
	return out, nil
}

// updateValue is not idempotent, unlike PutSecretValue: a known token is an error
// even with the same value (API_UpdateSecret.html).
func (s *Server) updateValue(c *secret, in updateInput) (any, *apiError) {
	id, failure := tokenOrNew(in.ClientRequestToken)
	if failure != nil {
		return nil, failure
	}
	if c.version(id) != nil {
		return nil, fail(exists, "A version with this ClientRequestToken already exists.")
	}
	return s.putVersion(c, id, in.value, []string{current})
}

func badStage(stage string) bool { return stage == "" || len(stage) > 256 }

func tooManyStages() *apiError {
	return fail(limitExceeded, "a version has at most 20 staging labels")
}

type stageInput struct {
	SecretID            string `json:"SecretId"`
	VersionStage        string
	MoveToVersionID     string `json:"MoveToVersionId"`
	RemoveFromVersionID string `json:"RemoveFromVersionId"`
}

// updateSecretVersionStage moves a label. Who takes it from a version must name
// that version, so that two rotations don't undo each other unseen.
func (s *Server) updateSecretVersionStage(in stageInput) (any, *apiError) {
	c, failure := s.findLive(in.SecretID)
	if failure != nil {
		return nil, failure
	}
	if failure := c.checkMove(in); failure != nil {
		return nil, failure
	}
	to, from := c.version(in.MoveToVersionID), c.version(in.RemoveFromVersionID)
	if to != nil {
		c.attach(in.VersionStage, to)
	} else {
		from.drop(in.VersionStage)
	}
	c.changed = s.cfg.Now()
	return versionOutput{ARN: c.arn, Name: c.name}, nil
}

func (c *secret) checkMove(in stageInput) *apiError {
	to, from, holder := c.version(in.MoveToVersionID), c.version(in.RemoveFromVersionID), c.staged(in.VersionStage)
	switch {
	case badStage(in.VersionStage) || in.MoveToVersionID == "" && in.RemoveFromVersionID == "":
		return fail(invalidParameter, "give VersionStage, and MoveToVersionId or RemoveFromVersionId")
	case in.MoveToVersionID != "" && to == nil, in.RemoveFromVersionID != "" && from == nil:
		return fail(notFound, "Secrets Manager can't find the specified secret version.")
	case from != nil && from != holder:
		return fail(invalidParameter, "The staging label is not attached to the version in RemoveFromVersionId.")
	case to != nil && holder != nil && holder != to && from == nil:
		return fail(invalidParameter, "The staging label is attached to another version; name it in RemoveFromVersionId.")
	case to == nil && in.VersionStage == current:
		return fail(invalidParameter, "AWSCURRENT can be moved to another version, but not removed.")
	case to != nil && to != holder && len(to.stages) >= maxStages:
		return tooManyStages()
	}
	return nil
}

type deleteInput struct {
	SecretID                   string `json:"SecretId"`
	RecoveryWindowInDays       *int
	ForceDeleteWithoutRecovery bool
}

const defaultWindow = 30 // days

func (s *Server) deleteSecret(in deleteInput) (any, *apiError) {
	days := defaultWindow
	if in.RecoveryWindowInDays != nil {
		days = *in.RecoveryWindowInDays
	}
	if days < 7 || days > 30 || in.ForceDeleteWithoutRecovery && in.RecoveryWindowInDays != nil {
		return nil, fail(invalidParameter, "RecoveryWindowInDays must be 7 to 30, and not beside ForceDeleteWithoutRecovery")
	}
	if in.ForceDeleteWithoutRecovery {
		return s.forceDelete(in.SecretID)
	}
	c, failure := s.findLive(in.SecretID)
	if failure != nil {
		return nil, failure
	}
	c.deleted = s.cfg.Now().AddDate(0, 0, days)
	return deleteOutput{c.arn, c.name, awsjson.Time(c.deleted)}, nil
}

type deleteOutput struct {
	ARN, Name    string
	DeletionDate awsjson.Time
}

// forceDelete succeeds without a secret too, so that it can be repeated; AWS does
// not say which ARN it answers with then.
func (s *Server) forceDelete(id string) (any, *apiError) {
	c, failure := s.find(id)
	if failure != nil && failure.Code != notFound {
		return nil, failure
	}
	now := awsjson.Time(s.cfg.Now())
	if c == nil {
		return deleteOutput{id, id, now}, nil
	}
	delete(s.secrets, c.name)
	return deleteOutput{c.arn, c.name, now}, nil
}

func (s *Server) restoreSecret(in describeInput) (any, *apiError) {
	c, failure := s.find(in.SecretID)
	if failure != nil {
		return nil, failure
	}
	c.deleted = time.Time{}
	return versionOutput{ARN: c.arn, Name: c.name}, nil
}
