package registry

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"

	"tokenvendor/shared/ask"
)

// fields are texts that are hashed together.
type fields []string

// addSet adds a list whose order and duplicates have no meaning.
func (f *fields) addSet(list []string) {
	sorted := setOf(list)
	*f = append(append(*f, strconv.Itoa(len(sorted))), sorted...)
}

// setOf returns the elements of a list, sorted and without duplicates.
func setOf(list []string) []string {
	sorted := slices.Clone(list)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}

// digest returns the SHA-256 of the fields in base64url. Each field follows its length, so
// that no two lists of fields are hashed as the same bytes.
func (f fields) digest() string {
	const usual = 1024 // bytes; the buffer rarely grows
	b := make([]byte, 0, usual)
	for _, field := range f {
		b = ask.AppendField(b, field)
	}
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
