package token

import (
	"hash/fnv"
	"strconv"
	"time"

	"tokenvendor/shared/oauth"
)

// Grant is a token with what is worth saying about it.
type Grant struct {
	Token *oauth.Token
	// Outcome says where the token came from.
	Outcome Outcome
	// CertificateBound says that only the holder of the client's certificate can
	// use the token, and that the document did not call that fine.
	CertificateBound bool

	held   *held
	caller string
}

// AppendJSON appends the token JSON: that of [oauth.Token.AppendJSON], and
// refresh_after, the seconds after which the caller should ask again.
func (g Grant) AppendJSON(dst []byte, now time.Time) []byte {
	dst = g.Token.AppendJSON(dst, now)
	if g.held == nil || g.held.end().IsZero() {
		return dst
	}
	dst = append(dst[:len(dst)-1], `,"refresh_after":`...)
	dst = strconv.AppendInt(dst, int64(g.RefreshAfter(now)/time.Second), 10)
	return append(dst, '}')
}

// RefreshAfter is when the caller should ask again. Each caller has a moment of
// its own between the refresh of the token and its end, so that a fleet of callers
// does not return at once; by then a newer token is there.
func (g Grant) RefreshAfter(now time.Time) time.Duration {
	start := g.held.refreshPoint()
	if start.Before(now) {
		start = now
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(g.caller))
	// What is left at the latest moment is for the caller's own pace.
	window := g.held.end().Sub(start) * 3 / 4
	share := float64(h.Sum32()) / (1 << 32)
	// Never at once: the same token would come again.
	return max(time.Second, start.Sub(now)+time.Duration(float64(window)*share))
}
