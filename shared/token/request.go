package token

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
)

// Request is one caller's wish for a token. Build it with [ParseForm] or
// [ParseJSON], which check what they are given; the zero values of all members
// but Client mean "as the client's document says".
type Request struct {
	// Client is the client's name; required.
	Client string
	// Scope and Resource are sorted and without repeats.
	Scope, Resource []string
	// Audience, TokenFormat and AppTID are sent to the authorization server as
	// audience, token_format and app_tid (SAP).
	Audience, TokenFormat, AppTID string
	// Parameters are form parameters beyond those; the client's document must
	// allow each.
	Parameters map[string]string
	// MinTTL is the life that the caller needs the token to have left.
	MinTTL time.Duration
	// Rejected is the [Fingerprint] of a token that a resource server refused.
	Rejected string
	// Claim is what an [Announcement] named; it stands for all of the above but the
	// client and Rejected, and MinTTL may ask for more.
	Claim string
	// DryRun asks whether there would be a token, and by which rule, instead of for
	// the token.
	DryRun bool
	// Caller is the normalised principal who asks; the policy decides by it, and it
	// decides when he should ask again.
	Caller string
	// Origin is where the request came from, for the audit line; the policy may also
	// decide by its CallerID.
	Origin audit.Origin
	// RequestID names the request in our log and, as the correlation id, in the
	// authorization server's.
	RequestID string
}

// resolve joins the request with the client's document. What the document sets
// is a bound for the caller as well as a default, unless allow_parameters names
// it; what it doesn't set is free.
func (r Request) resolve(c *registry.Client) (oauth.Request, error) {
	want := oauth.Request{}
	if len(c.Parameters) > 0 {
		want.Parameters = maps.Clone(c.Parameters)
	}
	scope, ok := within(r.Scope, c.Scope, c.Allow["scope"])
	if !ok {
		return want, &Error{Kind: InvalidScope, Description: "scope goes beyond the client's document"}
	}
	want.Scope = scope
	if want.Resource, ok = within(r.Resource, c.Resource, c.Allow["resource"]); !ok {
		return want, &Error{Kind: InvalidTarget, Description: "resource goes beyond the client's document"}
	}
	if want.Audience, ok = bounded(r.Audience, c.Audience, c.Allow["audience"]); !ok {
		return want, &Error{Kind: InvalidTarget, Description: "audience differs from the client's document"}
	}
	if want.TokenFormat, ok = bounded(r.TokenFormat, c.TokenFormat, c.Allow["token_format"]); !ok {
		return want, malformed("token_format differs from the client's document")
	}
	return want, r.addParameters(c, &want)
}

func (r Request) addParameters(c *registry.Client, want *oauth.Request) error {
	tid, ok := bounded(r.AppTID, c.Parameters["app_tid"], c.Allow["app_tid"])
	if !ok {
		return malformed("app_tid differs from the client's document")
	}
	if want.Parameters == nil && (tid != "" || len(r.Parameters) > 0) {
		want.Parameters = make(map[string]string)
	}
	if tid != "" {
		want.Parameters["app_tid"] = tid
	}
	for name, value := range r.Parameters {
		if !c.Allow[name] {
			return unknown(name)
		}
		want.Parameters[name] = value
	}
	return nil
}

// within returns what to ask for: asked, or the document's list when nothing is
// asked. ok is false when asked goes beyond a list that the document sets.
func within(asked, document []string, allowed bool) (list []string, ok bool) {
	if len(asked) == 0 {
		return sortedSet(document), true
	}
	if len(document) == 0 || allowed {
		return asked, true
	}
	for _, item := range asked {
		if !slices.Contains(document, item) {
			return nil, false
		}
	}
	return asked, true
}

// bounded is within for a single value.
func bounded(asked, document string, allowed bool) (value string, ok bool) {
	if asked == "" {
		return document, true
	}
	return asked, document == "" || asked == document || allowed
}

func sortedSet(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

const (
	maxScopeBytes    = 4096
	maxScopeTokens   = 64
	maxResources     = 16
	maxTargetBytes   = 2048
	maxTTL           = 86400
	fingerprintBytes = 64
)

// parseScope checks a scope by the grammar of RFC 6749 section 3.3.
func parseScope(text string) ([]string, error) {
	list := strings.Split(text, " ")
	valid := len(text) <= maxScopeBytes && len(list) <= maxScopeTokens
	for _, item := range list {
		valid = valid && item != "" && !strings.ContainsFunc(item, notScopeByte)
	}
	if !valid {
		return nil, &Error{Kind: InvalidScope, Description: "scope is not a list of scope tokens with single spaces between them, or too long"}
	}
	return sortedSet(list), nil
}

func notScopeByte(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }

// parseResources checks targets by RFC 8707 section 2: absolute URIs without a
// fragment.
func parseResources(list []string) ([]string, error) {
	if len(list) > maxResources {
		return nil, &Error{Kind: InvalidTarget, Description: "resource is given more than 16 times"}
	}
	for _, item := range list {
		u, err := url.Parse(item)
		if err != nil || u.Scheme == "" || u.User != nil || strings.Contains(item, "#") ||
			len(item) > maxTargetBytes || strings.ContainsFunc(item, notURIByte) || u.Host == "" && u.Opaque == "" && u.Path == "" {
			return nil, &Error{Kind: InvalidTarget, Description: "resource is not an absolute URI without fragment, or too long"}
		}
	}
	return sortedSet(list), nil
}

func notURIByte(r rune) bool { return r <= ' ' || r > '~' }

// notIDByte is true for what no identifier of ours or SAP's holds.
func notIDByte(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// unknown names the parameter only where that is harmless.
func unknown(name string) error {
	if plainName(name) {
		return malformed(name + " is not a parameter of this request")
	}
	return malformed("a parameter is not known")
}

func plainName(name string) bool {
	return len(name) <= 40 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") == ""
}
