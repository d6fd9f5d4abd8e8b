package kms

import (
	"maps"
	"slices"
	"strings"
	"time"

	"tokenvendor/scripts/local/awsjson"
)

// findByID is find for operations that take no alias.
func (s *Server) findByID(id string) (*key, *apiError) {
	if strings.HasPrefix(strings.TrimPrefix(id, s.arn("")), "alias/") {
		return nil, fail(notFound, "an alias is not taken here; give the key's id or ARN")
	}
	return s.find(id)
}

func (s *Server) enableKey(in keyInput) (any, *apiError) { return s.setDisabled(in, false) }

func (s *Server) disableKey(in keyInput) (any, *apiError) { return s.setDisabled(in, true) }

func (s *Server) setDisabled(in keyInput, to bool) (any, *apiError) {
	k, failure := s.findByID(in.KeyID)
	switch {
	case failure != nil:
		return nil, failure
	case !k.deleted.IsZero():
		return nil, pendingDeletion()
	}
	k.disabled = to
	return struct{}{}, nil
}

const defaultWindow = 30 // days

func (s *Server) scheduleKeyDeletion(in struct {
	keyInput
	PendingWindowInDays *int
}) (any, *apiError) {
	days := defaultWindow
	if in.PendingWindowInDays != nil {
		days = *in.PendingWindowInDays
	}
	if days < 7 || days > 30 {
		return nil, fail(validation, "PendingWindowInDays must be 7 to 30")
	}
	k, failure := s.findByID(in.KeyID)
	switch {
	case failure != nil:
		return nil, failure
	case !k.deleted.IsZero():
		return nil, pendingDeletion()
	}
	k.deleted = s.cfg.Now().AddDate(0, 0, days)
	return map[string]any{"KeyId": s.keyARN(k), "DeletionDate": awsjson.Time(k.deleted), "KeyState": k.state(), "PendingWindowInDays": days}, nil
}

// cancelKeyDeletion leaves the key disabled, as AWS does.
func (s *Server) cancelKeyDeletion(in keyInput) (any, *apiError) {
	k, failure := s.findByID(in.KeyID)
	switch {
	case failure != nil:
		return nil, failure
	case k.deleted.IsZero():
		return nil, fail(invalidState, "the key is not pending deletion")
	}
	k.deleted, k.disabled = time.Time{}, true
	return map[string]any{"KeyId": s.keyARN(k)}, nil
}

// alias is a name for a key.
type alias struct {
	name, target     string
	created, updated time.Time
}

type aliasInput struct {
	AliasName   string
	TargetKeyID string `json:"TargetKeyId"`
}

func (s *Server) createAlias(in aliasInput) (any, *apiError) {
	target, failure := s.target(in)
	switch {
	case failure != nil:
		return nil, failure
	case s.aliases[in.AliasName] != nil:
		return nil, fail("AlreadyExistsException", "there is an alias with that name already")
	}
	now := s.cfg.Now()
	s.aliases[in.AliasName] = &alias{in.AliasName, target.id, now, now}
	return struct{}{}, nil
}

// updateAlias gives an alias to another key of the same usage and type.
func (s *Server) updateAlias(in aliasInput) (any, *apiError) {
	target, failure := s.target(in)
	if failure != nil {
		return nil, failure
	}
	a := s.aliases[in.AliasName]
	switch {
	case a == nil:
		return nil, fail(notFound, "there is no such alias")
	case s.keys[a.target].usage() != target.usage():
		return nil, fail(validation, "the alias's key and the target have different usages")
	}
	a.target, a.updated = target.id, s.cfg.Now()
	return struct{}{}, nil
}

// target returns the key that an alias is to name.
func (s *Server) target(in aliasInput) (*key, *apiError) {
	name, ok := strings.CutPrefix(in.AliasName, "alias/")
	bad := strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("/_-", r)
	})
	switch {
	case !ok || name == "" || len(in.AliasName) > 256 || bad:
		return nil, fail(validation, "AliasName is alias/ and letters, digits, slashes, underscores and hyphens")
	case strings.HasPrefix(name, "aws/"):
		return nil, fail("InvalidAliasNameException", "names that begin with alias/aws/ are reserved")
	}
	k, failure := s.findByID(in.TargetKeyID)
	if failure == nil && !k.deleted.IsZero() {
		return nil, pendingDeletion()
	}
	return k, failure
}

func (s *Server) deleteAlias(in aliasInput) (any, *apiError) {
	if s.aliases[in.AliasName] == nil {
		return nil, fail(notFound, "there is no such alias")
	}
	delete(s.aliases, in.AliasName)
	return struct{}{}, nil
}

type listInput struct {
	keyInput
	Limit  *int
	Marker string
}

// page returns a page of names in their order. The marker is the last name.
func (in listInput) page(names []string, limit, most int) (page []string, out map[string]any, failure *apiError) {
	if in.Limit != nil {
		limit = *in.Limit
	}
	if limit < 1 || limit > most {
		return nil, nil, fail(validation, "Limit is out of its range")
	}
	slices.Sort(names)
	names = slices.DeleteFunc(names, func(name string) bool { return name <= in.Marker })
	if len(names) > limit {
		return names[:limit], map[string]any{"Truncated": true, "NextMarker": names[limit-1]}, nil
	}
	return names, map[string]any{"Truncated": false}, nil
}

func (s *Server) listKeys(in listInput) (any, *apiError) {
	ids, out, failure := in.page(slices.Collect(maps.Keys(s.keys)), 100, 1000)
	if failure != nil {
		return nil, failure
	}
	list := []map[string]string{}
	for _, id := range ids {
		list = append(list, map[string]string{"KeyId": id, "KeyArn": s.arn("key/" + id)})
	}
	out["Keys"] = list
	return out, nil
}

func (s *Server) listAliases(in listInput) (any, *apiError) {
	var of *key
	if in.KeyID != "" {
		var failure *apiError
		if of, failure = s.findByID(in.KeyID); failure != nil {
			return nil, failure
		}
	}
	var names []string
	for name, a := range s.aliases {
		if of == nil || a.target == of.id {
			names = append(names, name)
		}
	}
	names, out, failure := in.page(names, 50, 100)
	if failure != nil {
		return nil, failure
	}
	list := []map[string]any{}
	for _, name := range names {
		a := s.aliases[name]
		list = append(list, map[string]any{
			"AliasName": name, "AliasArn": s.arn(name), "TargetKeyId": a.target,
			"CreationDate": awsjson.Time(a.created), "LastUpdatedDate": awsjson.Time(a.updated),
		})
	}
	out["Aliases"] = list
	return out, nil
}
