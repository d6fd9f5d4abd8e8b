package fleet

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"
)

const (
	// keyBytes is the length of a data key.
	keyBytes = 32
	// maxSealed bounds what is opened: DynamoDB's items end at 400 KB, a token
	// at 64 KiB.
	maxSealed = 128 << 10
)

// seal is an epoch's key at work. It is immutable.
type seal struct {
	epoch      string
	key        []byte // the data key itself, for the next epoch's row
	names      []byte // key of the rows' names; handed on from epoch to epoch
	signatures []byte // key of what is signed
	aead       cipher.AEAD
	// before is the seal of the epoch before, which has none itself; nil: there is none.
	before *seal
}

// begun reports whether there is an epoch to have a seal; nil: not yet.
func (s *seal) begun() bool { return s != nil }

// newSeal makes three keys of one: AES-256 for what rows say, HMAC-SHA-256 for their
// names and for what is signed (NIST SP 800-108 by way of RFC 5869).
func newSeal(epoch string, key []byte) (*seal, error) {
	if len(key) != keyBytes {
		return nil, errors.New("the data key is not 32 bytes long")
	}
	names, err := hkdf.Expand(sha256.New, key, "token vendor: names", sha256.Size)
	if err != nil {
		return nil, err
	}
	signatures, err := hkdf.Expand(sha256.New, key, "token vendor: signatures", sha256.Size)
	if err != nil {
		return nil, err
	}
	contents, err := hkdf.Expand(sha256.New, key, "token vendor: contents", keyBytes)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(contents)
	if err != nil {
		return nil, err
	}
	// A random nonce is safe for 2^32 messages under one key (NIST SP 800-38D
	// section 8.3); an epoch is a day.
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &seal{epoch: epoch, key: key, names: names, signatures: signatures, aead: aead}, err
}

// chain is what an epoch's row says beside its key, sealed: what there was before must not
// be forgotten at midnight, least of all which credentials were refused.
type chain struct {
	Names []byte `json:"names"`
	// Epoch and Key are those of the epoch before; empty: there was none.
	Epoch string `json:"epoch,omitempty"`
	Key   []byte `json:"key,omitempty"`
}

// follow returns s as the epoch after before, and what its row says of that.
func (s *seal) follow(row string, before *seal) (*seal, []byte) {
	next, c := *s, chain{Names: s.names}
	if before != nil {
		last := *before
		last.before = nil
		next.names, next.before = before.names, &last
		c = chain{Names: before.names, Epoch: before.epoch, Key: before.key}
	}
	plain, err := json.Marshal(c)
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return &next, s.close(row, placeChain, plain)
}

// followed returns s as its row says; false: the row was changed by somebody else. One
// that says nothing is of an epoch without a past.
func (s *seal) followed(row string, sealed []byte) (*seal, bool) {
	if len(sealed) == 0 {
		return s, true
	}
	var c chain
	plain, ok := s.open(row, placeChain, sealed)
	if !ok || json.Unmarshal(plain, &c) != nil || len(c.Names) == 0 {
		return nil, false
	}
	next := *s
	next.names = c.Names
	if c.Epoch != "" {
		before, err := newSeal(c.Epoch, c.Key)
		if err != nil {
			return nil, false
		}
		next.before = before
	}
	return &next, true
}

// oldest is the earliest end, in Unix milliseconds, of a row that s must be able to open:
// the names of rows outlive the keys of what they say, and DynamoDB deletes late.
func (s *seal) oldest() int64 {
	day, err := time.Parse(epochLayout, s.epoch)
	if err != nil {
		return 0
	}
	return day.UnixMilli()
}

// name is the name of the row for id: whoever reads it can't guess the client or
// the scope, and can't tell a token's row from another.
func (s *seal) name(kind Kind, id string) string {
	mac := hmac.New(sha256.New, s.names)
	mac.Write([]byte{byte(kind)})
	mac.Write([]byte(id))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// The places in a row, part of what is authenticated.
const (
	placeState = "state"
	placeValue = "value"
	placeChain = "chain" // of an epoch's row
)

func (s *seal) close(row, place string, plain []byte) []byte {
	// #nosec G407 -- the AEAD makes a random nonce itself and wants none.
	return s.aead.Seal(nil, nil, plain, []byte(place+" "+row))
}

func (s *seal) open(row, place string, sealed []byte) ([]byte, bool) {
	if len(sealed) < s.aead.Overhead() || len(sealed) > maxSealed {
		return nil, false
	}
	plain, err := s.aead.Open(nil, nil, sealed, []byte(place+" "+row))
	if err != nil && s.before != nil {
		return s.before.open(row, place, sealed)
	}
	return plain, err == nil
}
