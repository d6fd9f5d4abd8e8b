// Package ask defines what a caller asks an authorization server for: one value, [Ask],
// which the request, the token endpoint's form, the claim, the announcement, the delivery
// and the audit line carry whole. The package imports the standard library only.
package ask

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
)

// Ask says which of a client's tokens is wanted. The zero value asks for the token that
// the client's document describes, or for the server's default. A new member belongs in
// [Ask.AppendKey], and in the form of the oauth package.
type Ask struct {
	// Scope is a list of scope tokens (RFC 6749 section 3.3). As Resource, it is sorted
	// and without duplicates in a parsed request.
	Scope []string `json:"scope,omitempty"`
	// Resource is a list of resource indicators (RFC 8707).
	Resource []string `json:"resource,omitempty"`
	// Audience is the audience parameter of servers without resource indicators.
	Audience string `json:"audience,omitempty"`
	// TokenFormat is "jwt" or "opaque" (SAP Cloud Identity Services, XSUAA).
	TokenFormat string `json:"token_format,omitempty"`
	// AppTID is the tenant of a multitenant application (SAP Cloud Identity Services).
	AppTID string `json:"app_tid,omitempty"`
	// Parameters are further form parameters.
	Parameters map[string]string `json:"parameters,omitempty"`
}

// Key identifies an Ask: two asks have the same key if and only if they ask for the same.
type Key [sha256.Size]byte

// keyVersion changes when the encoding of [Ask.AppendKey] does.
const keyVersion = 2

// Key returns the key of a.
func (a *Ask) Key() Key {
	const usual = 512 // bytes, so that the buffer need not grow
	return sha256.Sum256(a.AppendKey(make([]byte, 0, usual)))
}

// AppendKey appends an encoding of all members of a, for a key that covers more than the
// ask. Each field stands behind its length, so that two asks cannot have one encoding by
// a byte that moves from one field to the next.
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

// AppendField appends a field behind its length.
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

// IsZero reports whether a asks for nothing in particular.
func (a *Ask) IsZero() bool {
	return len(a.Scope) == 0 && len(a.Resource) == 0 && a.Audience == "" && a.TokenFormat == "" && a.AppTID == "" && len(a.Parameters) == 0
}

// Targets returns the resources together with the audience, which means the same to
// servers without resource indicators. The result may share memory with a.
func (a *Ask) Targets() []string {
	if a.Audience == "" {
		return a.Resource
	}
	return append(slices.Clone(a.Resource), a.Audience)
}
