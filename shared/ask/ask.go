// Package ask defines [Ask], the parameters of a token request as one value. The request,
// the form for the token endpoint, the claim, the announcement, the delivery and the audit
// line embed it, so that none of them can lose a parameter. The package imports the standard
// library only.
package ask

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
)

// Ask contains the parameters of a token request. The zero value requests the token that the
// client's document describes, or the server's default. A new member must be added to
// [Ask.AppendKey] and to the form of package oauth.
type Ask struct {
	// Scope is a list of scope tokens (RFC 6749 section 3.3). A parsed request contains it
	// sorted and without duplicates, as it does Resource.
	Scope []string `json:"scope,omitempty"`
	// Resource is a list of resource indicators (RFC 8707).
	Resource []string `json:"resource,omitempty"`
	// Audience is the audience parameter of servers without resource indicators.
	Audience string `json:"audience,omitempty"`
	// TokenFormat is "jwt" or "opaque" (SAP Cloud Identity Services, XSUAA).
	TokenFormat string `json:"token_format,omitempty"`
	// AppTID is the tenant of a multitenant application (SAP Cloud Identity Services).
	AppTID string `json:"app_tid,omitempty"`
	// Parameters are additional form parameters.
	Parameters map[string]string `json:"parameters,omitempty"`
}

// Key identifies an Ask: two asks have the same key if and only if they are equal.
type Key [sha256.Size]byte

// keyVersion changes when the encoding of [Ask.AppendKey] does.
const keyVersion = 2

// Key returns the key of a.
func (a *Ask) Key() Key {
	const usual = 512 // bytes; the buffer rarely grows
	return sha256.Sum256(a.AppendKey(make([]byte, 0, usual)))
}

// AppendKey appends an encoding of all members, for a key that covers more than the ask. The
// length of each field precedes it, so that two different asks never have the same encoding.
func (a *Ask) AppendKey(b []byte) []byte {
	b = append(b, keyVersion)
	b = appendList(b, a.Scope)
	b = appendList(b, a.Resource)
	b = AppendField(b, a.Audience)
	b = AppendField(b, a.TokenFormat)
	b = AppendField(b, a.AppTID)
	b = binary.BigEndian.AppendUint64(b, uint64(len(a.Parameters)))
	if len(a.Parameters) > 0 {
		for _, name := range slices.Sorted(maps.Keys(a.Parameters)) {
			b = AppendField(AppendField(b, name), a.Parameters[name])
		}
	}
	return b
}

// AppendField appends the length of a field and the field.
func AppendField(b []byte, field string) []byte {
	return append(binary.BigEndian.AppendUint64(b, uint64(len(field))), field...)
}

func appendList(b []byte, list []string) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(len(list)))
	for _, item := range list {
		b = AppendField(b, item)
	}
	return b
}

// IsZero reports whether a has no parameters.
func (a *Ask) IsZero() bool {
	return len(a.Scope) == 0 && len(a.Resource) == 0 && a.Audience == "" && a.TokenFormat == "" && a.AppTID == "" && len(a.Parameters) == 0
}

// Targets returns the resources and the audience, which has the same meaning for servers
// without resource indicators. The result may share memory with a.
func (a *Ask) Targets() []string {
	if a.Audience == "" {
		return a.Resource
	}
	return append(slices.Clone(a.Resource), a.Audience)
}
