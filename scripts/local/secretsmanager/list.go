package secretsmanager

import (
	"fmt"
	"slices"
	"strings"
)

// query selects a page of secrets; ListSecrets and BatchGetSecretValue share it.
type query struct {
	MaxResults             *int
	NextToken              string
	Filters                []filter
	SortOrder              string
	IncludePlannedDeletion bool
}

type filter struct {
	Key    string
	Values []string
}

func (s *Server) listSecrets(in query) (any, *apiError) {
	page, next, failure := s.page(in, 100)
	if failure != nil {
		return nil, failure
	}
	list := make([]description, 0, len(page))
	for _, c := range page {
		d := describe(c)
		d.ListedVersions = c.stages()
		list = append(list, d)
	}
	return withNext(map[string]any{"SecretList": list}, next), nil
}

func withNext(out map[string]any, next string) map[string]any {
	if next != "" {
		out["NextToken"] = next
	}
	return out
}

// page returns at most limit secrets and the token of the next page, which is
// empty at the end. Pages go by creation, the newest first. The token is the
// last secret's place, so that what comes and goes between two pages neither
// repeats nor hides another secret.
func (s *Server) page(q query, limit int) (page []*secret, next string, failure *apiError) {
	if failure := q.check(limit); failure != nil {
		return nil, "", failure
	}
	size := limit
	if q.MaxResults != nil {
		size = *q.MaxResults
	}
	compare := func(a, b string) int { return strings.Compare(b, a) }
	if q.SortOrder == "asc" {
		compare = strings.Compare
	}
	for _, c := range s.secrets {
		due := q.NextToken == "" || compare(c.place(), q.NextToken) > 0
		if due && (q.IncludePlannedDeletion || c.deleted.IsZero()) && passes(c, q.Filters) {
			page = append(page, c)
		}
	}
	slices.SortFunc(page, func(a, b *secret) int { return compare(a.place(), b.place()) })
	if len(page) > size {
		page = page[:size]
		next = page[size-1].place()
	}
	return page, next, nil
}

// place sorts by the time of creation, and by name within one moment.
func (c *secret) place() string { return fmt.Sprintf("%020d/%s", c.created.UnixNano(), c.name) }

func (q query) check(limit int) *apiError {
	if q.MaxResults != nil && (*q.MaxResults < 1 || *q.MaxResults > limit) {
		return fail(invalidParameter, fmt.Sprintf("MaxResults must be 1 to %d", limit))
	}
	if q.SortOrder != "" && q.SortOrder != "asc" && q.SortOrder != "desc" {
		return fail(invalidParameter, "SortOrder must be asc or desc")
	}
	for _, f := range q.Filters {
		if attribute(f.Key) == nil || len(f.Values) == 0 {
			return fail(invalidParameter, "a filter needs a known Key and Values")
		}
	}
	if at, name, ok := strings.Cut(q.NextToken, "/"); q.NextToken != "" && (!ok || len(at) != 20 || name == "") {
		return fail("InvalidNextTokenException", "NextToken is not one of ours")
	}
	return nil
}

// passes: all filters, each with one of its values.
func passes(c *secret, filters []filter) bool {
	for _, f := range filters {
		if !slices.ContainsFunc(f.Values, func(want string) bool { return f.matches(c, want) }) {
			return false
		}
	}
	return true
}

// matches tries one value of a filter; a leading ! turns it round.
func (f filter) matches(c *secret, want string) bool {
	want, not := strings.CutPrefix(want, "!")
	match := strings.HasPrefix
	switch f.Key {
	case "description":
		match = func(have, want string) bool { return strings.HasPrefix(strings.ToLower(have), strings.ToLower(want)) }
	case "all":
		match = hasWords
	}
	found := slices.ContainsFunc(attribute(f.Key)(c), func(have string) bool { return match(have, want) })
	return found != not
}

// hasWords reports whether each word of want is somewhere in have, in any case.
func hasWords(have, want string) bool {
	have = strings.ToLower(have)
	for _, word := range strings.Fields(strings.ToLower(want)) {
		if !strings.Contains(have, word) {
			return false
		}
	}
	return true
}

// attribute returns what a filter of that key compares; nil: no such key.
// primary-region and owning-service are keys of secrets that don't exist here.
func attribute(key string) func(*secret) []string {
	switch key {
	case "name":
		return func(c *secret) []string { return []string{c.name} }
	case "description":
		return func(c *secret) []string { return []string{c.description} }
	case "tag-key":
		return (*secret).tagKeys
	case "tag-value":
		return (*secret).tagValues
	case "primary-region", "owning-service":
		return func(*secret) []string { return nil }
	case "all":
		return func(c *secret) []string {
			all := slices.Concat([]string{c.name, c.description}, c.tagKeys(), c.tagValues())
			return []string{strings.Join(all, "\n")}
		}
	}
	return nil
}

func (c *secret) tagKeys() (keys []string) {
	for _, t := range c.tags {
		keys = append(keys, t.Key)
	}
	return keys
}

func (c *secret) tagValues() (values []string) {
	for _, t := range c.tags {
		values = append(values, t.Value)
	}
	return values
}
