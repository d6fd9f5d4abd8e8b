package token

import (
	"crypto/sha256"
	"maps"
	"slices"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/audit"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/policy"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/strictjson"
)

// Request is one caller's request for a token. [Request.ParseForm] and [Request.ParseJSON]
// fill in what the caller chooses; the rest is known of the event. The zero values of all
// members but Client mean "as the client's document says".
type Request struct {
	// Origin is where the request came from, for the audit line; the policy may also decide
	// by its CallerID.
	Origin audit.Origin
	// Caller is the normalised principal that asks. The policy decides by it.
	Caller string
	// RequestID names the request in our log and, as the correlation id, in the
	// authorization server's.
	RequestID string

	// Client is the client's name; required.
	Client string
	// Ask is what the caller asks for. A parsed request's lists are sorted and without
	// duplicates.
	ask.Ask
	// MinTTL is the life that the caller needs the token to have left.
	MinTTL time.Duration
	// Rejected is the fingerprint of a token that a resource server refused.
	Rejected string
	// Claim is that of an [Announcement]; it stands for the Ask, and MinTTL may ask for
	// more.
	Claim string
	// DryRun asks whether there would be a token, and by which rule, instead of for the
	// token.
	DryRun bool
	// Order means that the sender of an order chose the Ask. [Vendor.Announce] sets it.
	Order bool
}

// Key identifies what is asked for: the client and the Ask.
func (r *Request) Key() [sha256.Size]byte {
	return sha256.Sum256(r.AppendKey(ask.AppendField(nil, r.Client)))
}

// ask returns what to ask the authorization server for. An order may carry only what the
// client's document states, because its sender needs no leave for the client; the policy may
// let its source choose scope, resource and audience like a caller.
func (d *decision) ask(c *registry.Client) (ask.Ask, error) {
	if !d.Order {
		return resolve(&d.Ask, c, byCaller)
	}
	want, err := resolve(&d.Ask, c, byOrder)
	if err == nil || d.policy == nil {
		return want, err
	}
	verdict := d.policy.Decide(policy.Query{Caller: d.Caller, Client: d.Client, Scope: d.Scope, Resource: d.Targets()})
	if verdict.Rule == "" {
		return want, err
	}
	return resolve(&d.Ask, c, byPermittedOrder)
}

// chooser is the party that chose the values of an ask.
type chooser int

const (
	byCaller chooser = iota
	// byOrder is the sender of an order, and byPermittedOrder one whose source the policy
	// permits the targets.
	byOrder
	byPermittedOrder
)

// resolve joins an ask with the client's document. A value in the document is a bound as well
// as a default, unless allow_parameters names the parameter. If the document has none, it depends
// on the chooser. app_tid selects a customer's tenant, so that no chooser is free without the
// document. The result may share its lists and its map with the document.
func resolve(a *ask.Ask, c *registry.Client, by chooser) (want ask.Ask, err error) {
	var ok bool
	document := &c.Defaults
	targets := by != byOrder // may be chosen where the document states none
	if want.Scope, ok = within(a.Scope, document.Scope, c.Allow["scope"], targets); !ok {
		return want, fault.New(fault.InvalidScope, "scope "+beyond(len(document.Scope) > 0))
	}
	for _, item := range a.Resource {
		if !slices.Contains(document.Resource, item) && !isTarget(item) {
			return want, fault.New(fault.InvalidTarget, "resource is not an absolute URI without fragment, and not a value of the client's document")
		}
	}
	if want.Resource, ok = within(a.Resource, document.Resource, c.Allow["resource"], targets); !ok {
		return want, fault.New(fault.InvalidTarget, "resource "+beyond(len(document.Resource) > 0))
	}
	if want.Audience, ok = bounded(a.Audience, document.Audience, c.Allow["audience"], targets); !ok {
		return want, fault.New(fault.InvalidTarget, "audience "+beyond(document.Audience != ""))
	}
	if want.TokenFormat, ok = bounded(a.TokenFormat, document.TokenFormat, c.Allow["token_format"], by == byCaller); !ok {
		return want, fault.Invalid("token_format " + beyond(document.TokenFormat != ""))
	}
	if want.AppTID, ok = bounded(a.AppTID, document.AppTID, c.Allow["app_tid"], false); !ok {
		return want, fault.Invalid("app_tid " + beyond(document.AppTID != ""))
	}
	want.Parameters, err = merge(a.Parameters, c)
	return want, err
}

// beyond is the problem of a member, which the client's document states or does not.
func beyond(stated bool) string {
	if stated {
		return "goes beyond the client's document"
	}
	return "is neither in the client's document nor in its allow_parameters"
}

// merge returns the document's parameters with those of the caller, which the document must
// allow.
func merge(asked map[string]string, c *registry.Client) (map[string]string, error) {
	if len(asked) == 0 {
		return c.Defaults.Parameters, nil
	}
	merged := maps.Clone(c.Defaults.Parameters)
	if merged == nil {
		merged = make(map[string]string)
	}
	// Sorted, so that of two problems always the same one is reported.
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		if !c.Allow[name] {
			return nil, unknownParameter(name)
		}
		merged[name] = asked[name]
	}
	return merged, nil
}

// within returns what to ask for: asked, or the document's list if nothing is asked for. ok
// is false if asked goes beyond the document's list. free means that it may be anything where
// there is none, and allowed that it may be anything.
func within(asked, document []string, allowed, free bool) (list []string, ok bool) {
	if len(asked) == 0 {
		return document, true
	}
	if allowed || free && len(document) == 0 {
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
func bounded(asked, document string, allowed, free bool) (value string, ok bool) {
	if asked == "" {
		return document, true
	}
	return asked, allowed || asked == document || free && document == ""
}

// unknownParameter is the error of a parameter that neither the vendor nor the client's document
// knows.
func unknownParameter(name string) error {
	return fault.Invalid(strictjson.Quote(name) + " is not a parameter, and allow_parameters of the client's document does not name it" + meant(name))
}

// meant explains a name that is written in another way, such as minTtl.
func meant(name string) string {
	known := []string{"scope", "resource", "audience", "token_format", "app_tid", "min_ttl", "rejected", "claim", "dry_run", "grant_type", "client_id", "client"}
	if like := strictjson.Like(name, known); like != "" {
		return ": " + like + " is meant?"
	}
	return ""
}
