package endpoint

import (
	"net/url"
	"path"
	"strings"
	"testing"
)

// A path that is accepted stays below its prefix, however often the target unescapes it, and also
// if it ignores what follows a semicolon, or takes a backslash for a slash.
func FuzzClimbs(f *testing.F) {
	for _, seed := range []string{"a/b", "..", "a/%2e%2e/..", "..;a/x", "%252e%252e/x", `..\x`, "a%2f..%2f..", "100%25/%252e.", "."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if climbs(text, 2) {
			return
		}
		for range 3 {
			var kept []string
			for segment := range strings.SplitSeq(strings.ReplaceAll(text, `\`, "/"), "/") {
				plain, _, _ := strings.Cut(segment, ";")
				kept = append(kept, plain)
			}
			if clean := path.Clean("/prefix/" + strings.Join(kept, "/")); clean != "/prefix" && !strings.HasPrefix(clean, "/prefix/") {
				t.Fatalf("%q leads to %q", text, clean)
			}
			// Segment by segment, because one that cannot be unescaped stays as it is.
			segments := strings.Split(text, "/")
			for i, segment := range segments {
				if plain, err := url.PathUnescape(segment); err == nil {
					segments[i] = plain
				}
			}
			text = strings.Join(segments, "/")
		}
	})
}
