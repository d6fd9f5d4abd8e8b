package secretsmanager

import "slices"

type tag struct{ Key, Value string }

// maxTags is how many tags a secret may have.
const maxTags = 50

type tagInput struct {
	SecretID string `json:"SecretId"`
	Tags     []tag
}

func (s *Server) tagResource(in tagInput) (any, *apiError) {
	c, failure := s.findLive(in.SecretID)
	if failure != nil {
		return nil, failure
	}
	tags, failure := merge(c.tags, in.Tags)
	if failure == nil {
		c.tags = tags
	}
	return struct{}{}, failure
}

// merge adds tags to old ones, in a slice of its own; a key that is there
// already gets the new value.
func merge(old, added []tag) ([]tag, *apiError) {
	tags := slices.Clone(old)
	for _, t := range added {
		if t.Key == "" || len(t.Key) > 128 || len(t.Value) > 256 {
			return nil, fail(invalidParameter, "a tag's key has 1 to 128 characters, its value at most 256")
		}
		if i := slices.IndexFunc(tags, func(o tag) bool { return o.Key == t.Key }); i >= 0 {
			tags[i] = t
		} else {
			tags = append(tags, t)
		}
	}
	if len(tags) > maxTags {
		return nil, fail(limitExceeded, "a secret has at most 50 tags")
	}
	return tags, nil
}

type untagInput struct {
	SecretID string `json:"SecretId"`
	TagKeys  []string
}

// untagResource is content with keys that are not there.
func (s *Server) untagResource(in untagInput) (any, *apiError) {
	c, failure := s.findLive(in.SecretID)
	if failure != nil {
		return nil, failure
	}
	c.tags = slices.DeleteFunc(slices.Clone(c.tags), func(t tag) bool { return slices.Contains(in.TagKeys, t.Key) })
	return struct{}{}, nil
}
