package token

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
)

// key names one token in a cache.
type key [sha256.Size]byte

// keyVersion changes when the fields below do.
const keyVersion = 1

// keyOf hashes everything that decides which token an exchange brings. Each
// field goes in behind its length, so that no two requests become one by moving
// a byte over a border. r must be canonical: its lists sorted, without repeats.
func keyOf(client *registry.Client, r oauth.Request) key {
	const usual = 512 // bytes, so that the buffer need not grow
	b := append(make([]byte, 0, usual), keyVersion)
	for _, field := range [...]string{client.Name, client.Version, string(client.Method), client.OAuth.TokenEndpoint(), strings.Join(r.Scope, " "), r.Audience, r.TokenFormat} {
		b = appendField(b, field)
	}
	b = appendList(b, r.Resource)
	b = binary.BigEndian.AppendUint64(b, uint64(len(r.Parameters)))
	if len(r.Parameters) > 0 {
		for _, name := range slices.Sorted(maps.Keys(r.Parameters)) {
			b = appendField(appendField(b, name), r.Parameters[name])
		}
	}
	return sha256.Sum256(b)
}

func appendField(b []byte, field string) []byte {
	return append(binary.BigEndian.AppendUint64(b, uint64(len(field))), field...)
}

func appendList(b []byte, list []string) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(len(list)))
	for _, item := range list {
		b = appendField(b, item)
	}
	return b
}
