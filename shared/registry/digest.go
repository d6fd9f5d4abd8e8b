package registry

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strconv"
)

// fields are texts that are hashed together.
type fields []string

// addSet adds a list whose order and duplicates have no meaning.
func (f *fields) addSet(list []string) {
	sorted := slices.Compact(slices.Sorted(slices.Values(list)))
	*f = append(append(*f, strconv.Itoa(len(sorted))), sorted...)
}

// digest returns the SHA-256 of the fields in base64url. Each field follows its length, so
// that no two lists of fields are hashed as the same bytes.
func (f fields) digest() string {
	h := sha256.New()
	for _, field := range f {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(field)))
		h.Write(length[:])
		h.Write([]byte(field))
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}
