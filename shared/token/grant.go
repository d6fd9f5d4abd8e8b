package token

import (
	"encoding/json"
	"hash/fnv"
	"strconv"
	"time"

	"tokenvendor/shared/tokensource"
)

// Explained is the outcome of a dry run.
const Explained tokensource.Outcome = "explained"

// Grant is the answer to a request: a token, or the explanation of a dry run.
type Grant struct {
	// Token is nil in the answer to a dry run.
	Token *tokensource.Token
	// Explanation is the answer to a dry run; else nil.
	Explanation *Explanation
	// Outcome says where the token came from.
	Outcome tokensource.Outcome
	// CertificateBound means that only the holder of the client's certificate can use the
	// token, and that the document does not allow that without a warning.
	CertificateBound bool
	// OldCredential means that an earlier version of the client's secret obtained the token,
	// because the current one is not known to work.
	OldCredential bool

	caller string
}

// Size returns about how many bytes AppendJSON appends.
func (g Grant) Size() int {
	if g.Token == nil {
		return 256
	}
	return g.Token.Size()
}

// AppendJSON appends the explanation, or the token JSON: that of [oauth.Token.AppendJSON],
// and refresh_after, the seconds after which the caller should ask again.
func (g Grant) AppendJSON(dst []byte, now time.Time) []byte {
	if g.Token == nil {
		return g.Explanation.appendJSON(dst)
	}
	dst = g.Token.AppendJSON(dst, now)
	if g.Token.End().IsZero() {
		return dst
	}
	dst = append(dst[:len(dst)-1], `,"refresh_after":`...)
	dst = strconv.AppendInt(dst, int64(g.RefreshAfter(now)/time.Second), 10)
	return append(dst, '}')
}

// RefreshAfter is how long after now the caller should ask again. Each caller has a moment
// of its own between the refresh of the token and its end, so that a fleet of callers does
// not return at once; by then a newer token is there.
func (g Grant) RefreshAfter(now time.Time) time.Duration {
	start := g.Token.RefreshPoint()
	if start.Before(now) {
		start = now
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(g.caller))
	// A quarter is left for the caller's own delays.
	window := g.Token.End().Sub(start) * 3 / 4
	share := float64(h.Sum32()) / (1 << 32)
	// Never at once: the same token would come again.
	return max(time.Second, start.Sub(now)+time.Duration(float64(window)*share))
}

// Explanation says whether there would be a token.
type Explanation struct {
	DryRun bool `json:"dry_run"` // always true
	// Allowed: there would be a token, unless the authorization server refuses.
	Allowed bool `json:"allowed"`
	// Mode is the policy's: iam, document or audit. Rule, WouldDeny, Nearest and Failed are
	// those of the policy's decision.
	Mode      string `json:"mode"`
	Rule      string `json:"rule,omitempty"`
	WouldDeny bool   `json:"would_deny,omitempty"`
	Nearest   string `json:"nearest_rule,omitempty"`
	Failed    string `json:"failed,omitempty"`
	// Error and Description are what the caller would get instead; empty: a token.
	Error       string `json:"error,omitempty"`
	Description string `json:"error_description,omitempty"`
}

func (x *Explanation) appendJSON(dst []byte) []byte {
	text, err := json.Marshal(x)
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return append(dst, text...)
}
