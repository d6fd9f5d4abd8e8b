package tokensource

import (
	"slices"
	"time"
)

// maxSuspects bounds what is kept of a client: an old version may become current again.
const maxSuspects = 4

// suspect is a failed logon whose cause is not known.
type suspect struct {
	// Version is that of the client's secret.
	Version string `json:"version"`
	// Caller chose the parameters. Until then, no exchange is made for this caller.
	Caller string `json:"caller"`
	Until  int64  `json:"until"`
	// Examined means that the document's own parameters were refused as well. The next failed logon
	// locks the credential out, and only parameters that a caller chose can prove it.
	Examined bool `json:"examined,omitempty"`
	// Note is the failure, in the encoding of a row's note.
	Note []byte `json:"note"`
}

// bars reports whether no exchange is made for a caller. all means that the parameters of each caller
// count, as of a version that stands in for another one.
func (u *suspect) bars(caller string, all bool, now time.Time) bool {
	return (all || u.Caller == caller) && now.Before(time.UnixMilli(u.Until))
}

// suspects are those of one client, at most one of each version, the newest last.
type suspects []suspect

// of returns the suspect of a version; nil: there is none.
func (s suspects) of(version string) *suspect {
	i := slices.IndexFunc(s, func(u suspect) bool { return u.Version == version })
	if i < 0 {
		return nil
	}
	return &s[i]
}

// examined reports whether the document's own parameters were refused with a version.
func (s suspects) examined(version string) bool {
	u := s.of(version)
	return u != nil && u.Examined
}

// add returns the suspects and u, in place of another one of the same version.
func (s suspects) add(u suspect) suspects {
	s = append(s.drop(u.Version), u)
	return s[max(0, len(s)-maxSuspects):]
}

// drop returns the suspects of other versions; nil: there are none.
func (s suspects) drop(version string) (others suspects) {
	for _, u := range s {
		if u.Version != version {
			others = append(others, u)
		}
	}
	return others
}

// merge returns the suspects and those of other ones whose version has none.
func (s suspects) merge(other suspects) suspects {
	for _, u := range other {
		if s.of(u.Version) == nil {
			s = s.add(u)
		}
	}
	return s
}
