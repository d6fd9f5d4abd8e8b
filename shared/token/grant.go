package token

import (
	"encoding/json"
	"hash/fnv"
	"strconv"
	"time"

	"tokenvendor/shared/oauth"
)

// Grant is a token with what is worth saying about it.
type Grant struct {
	// Token is nil in the answer to a dry run.
	Token *oauth.Token
	// Explanation is the answer to a dry run; else nil.
	Explanation *Explanation
	// Outcome says where the token came from.
	Outcome Outcome
	// CertificateBound says that only the holder of the client's certificate can
	// use the token, and that the document did not call that fine.
	CertificateBound bool

	held   *held
	caller string
}

// Size returns about how many bytes AppendJSON appends.
func (g Grant) Size() int {
	if g.Token == nil {
		return 256
	}
	return g.Token.Size()
}

// AppendJSON appends the token JSON, or the explanation: that of [oauth.Token.AppendJSON], and
// refresh_after, the seconds after which the caller should ask again.
func (g Grant) AppendJSON(dst []byte, now time.Time) []byte {
	if g.Token == nil {
		return g.Explanation.appendJSON(dst)
	}
	dst = g.Token.AppendJSON(dst, now)
	if g.held == nil || g.held.end().IsZero() {
		return dst
	}
	dst = append(dst[:len(dst)-1], `,"refresh_after":`...)
	dst = strconv.AppendInt(dst, int64(g.RefreshAfter(now)/time.Second), 10)
	return append(dst, '}')
}

// appendJSON appends the answer to a dry run. It has the members error and
// error_description only if there would be no token.
func (x *Explanation) appendJSON(dst []byte) []byte {
	text, err := json.Marshal(struct {
		DryRun      bool   `json:"dry_run"`
		Allowed     bool   `json:"allowed"`
		Mode        string `json:"mode"`
		Rule        string `json:"rule,omitempty"`
		WouldDeny   bool   `json:"would_deny,omitempty"`
		Nearest     string `json:"nearest_rule,omitempty"`
		Failed      string `json:"failed,omitempty"`
		Error       string `json:"error,omitempty"`
		Description string `json:"error_description,omitempty"`
	}{true, x.Allowed, x.Mode, x.Rule, x.WouldDeny, x.Nearest, x.Failed, x.Error, oauth.Printable(x.Description)})
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return append(dst, text...)
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
