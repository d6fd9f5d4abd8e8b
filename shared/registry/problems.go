package registry

import (
	"fmt"
	"slices"
	"strings"
)

// DocumentError says everything that is wrong with a client's document. It
// holds names of members and never a value.
type DocumentError struct {
	// Client is the client's name.
	Client string
	// Version is the version of the secret that holds the document.
	Version string
	// Problems are sorted and name their member first.
	Problems []string
}

// Error implements error.
func (e *DocumentError) Error() string {
	return fmt.Sprintf("client %s: bad document: %s", e.Client, strings.Join(e.Problems, "; "))
}

// report collects the problems of one document.
type report struct{ problems []string }

// add notes a problem of a member. Both texts must be our own words.
func (r *report) add(member, problem string) {
	r.problems = append(r.problems, member+" "+problem)
}

// missing notes that a member is missing, unless its problem is another.
func (r *report) missing(member, more string) {
	for _, problem := range r.problems {
		if strings.HasPrefix(problem, member+" ") {
			return
		}
	}
	r.add(member, "is missing"+more)
}

func (r *report) empty() bool { return len(r.problems) == 0 }

func (r *report) error(client, version string) *DocumentError {
	slices.Sort(r.problems)
	return &DocumentError{Client: client, Version: version, Problems: slices.Compact(r.problems)}
}
