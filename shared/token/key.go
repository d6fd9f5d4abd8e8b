package token

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"maps"
	"slices"

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
	h := sha256.New()
	h.Write([]byte{keyVersion})
	for _, field := range []string{client.Name, client.Version, string(client.Method), client.OAuth.TokenEndpoint(), r.Scope, r.Audience, r.TokenFormat} {
		writeField(h, field)
	}
	writeList(h, r.Resource)
	names := slices.Sorted(maps.Keys(r.Parameters))
	writeList(h, names)
	for _, name := range names {
		writeField(h, r.Parameters[name])
	}
	return key(h.Sum(nil))
}

func writeField(h hash.Hash, field string) {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(field)))
	h.Write(length[:])
	h.Write([]byte(field))
}

func writeList(h hash.Hash, list []string) {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(list)))
	h.Write(length[:])
	for _, item := range list {
		writeField(h, item)
	}
}
