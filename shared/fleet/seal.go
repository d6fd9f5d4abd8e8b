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
	// epochLayout names an epoch: a day of UTC.
	epochLayout = time.DateOnly
	// clockSlack is how far ahead the clock of another environment may be.
	clockSlack = 5 * time.Minute
	// keyBytes is the length of a data key.
	keyBytes = 32
	// maxSealed bounds what is opened and written, in bytes. DynamoDB's items end at 400 KB.
	// A token of 64 KiB takes some 180 KB: it is in its record twice, and in base64.
	maxSealed = 384 << 10
)

// seal is an epoch's key with the keys that are derived from it. It is immutable.
type seal struct {
	epoch      string
	key        []byte // the data key itself, for the next epoch's row
	names      []byte // key of the rows' names; handed on from epoch to epoch
	signatures []byte // key of what is signed
	aead       cipher.AEAD
	// before is the seal of the epoch before, whose own before is nil; nil: there is none.
	before *seal
}

// begun reports whether the epoch of the seal has begun; a nil seal is that of one that has
// not.
func (s *seal) begun() bool { return s != nil }

// newSeal derives three keys from one: AES-256 for the contents of rows, HMAC-SHA-256 for
// their names and for signatures (NIST SP 800-108 by way of RFC 5869).
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

// chain is the content of an epoch's row beside its key, sealed. It keeps the fleet from
// forgetting at midnight what it knew, above all which credentials were refused.
type chain struct {
	Names []byte `json:"names"`
	// Epoch and Key are those of the epoch before; empty: there was none.
	Epoch string `json:"epoch,omitempty"`
	Key   []byte `json:"key,omitempty"`
}

// follow returns s as the epoch after before, and the chain for its row.
func (s *seal) follow(row string, before *seal) (*seal, []byte) {
	next, c := *s, chain{Names: s.names}
	if before != nil {
		last := *before
		last.before = nil
		next.names, next.before = before.names, &last
		c = chain{Names: before.names, Epoch: before.epoch, Key: before.key}
	}
	return &next, s.close(row, partChain, encode(c))
}

// encode returns the JSON of a value of this package.
func encode(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return text
}

// followed returns s with the chain of its row. It returns false if a foreign program
// changed the row. A row without a chain is that of an epoch without a predecessor.
func (s *seal) followed(row string, sealed []byte) (*seal, bool) {
	if len(sealed) == 0 {
		return s, true
	}
	var c chain
	plain, ok := s.open(row, partChain, sealed)
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
// the names of rows outlive the keys of their contents, and DynamoDB deletes late.
func (s *seal) oldest() int64 {
	day, err := time.Parse(epochLayout, s.epoch)
	if err != nil {
		return 0
	}
	return day.UnixMilli()
}

// name returns the name of the row for id. A reader of the table cannot guess the client or
// the scope from it, nor tell a token's row from another.
func (s *seal) name(kind byte, id string) string {
	mac := hmac.New(sha256.New, s.names)
	mac.Write(append([]byte{kind}, id...))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// lasting returns the seal of rows that are kept for longer than any epoch's key: its key is made of
// that of the names, which is handed on.
func (s *seal) lasting() *seal {
	key, err := hkdf.Expand(sha256.New, s.names, "token vendor: histories", keyBytes)
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	lasting := *s
	lasting.before = nil
	if lasting.aead, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return &lasting
}

// The parts of a row, part of what is authenticated.
const (
	partState = "state"
	partValue = "value"
	partChain = "chain" // of an epoch's row
)

func (s *seal) close(row, part string, plain []byte) []byte {
	// #nosec G407 -- the AEAD makes a random nonce itself.
	return s.aead.Seal(nil, nil, plain, []byte(part+" "+row))
}

func (s *seal) open(row, part string, sealed []byte) ([]byte, bool) {
	if len(sealed) < s.aead.Overhead() || len(sealed) > maxSealed {
		return nil, false
	}
	plain, err := s.aead.Open(nil, nil, sealed, []byte(part+" "+row))
	if err != nil && s.before != nil {
		return s.before.open(row, part, sealed)
	}
	return plain, err == nil
}

// maxSigned bounds a signed text, in bytes.
const maxSigned = 16 << 10

// sign returns the text that [Fleet.Sign] returns.
func (s *seal) sign(purpose string, payload []byte) string {
	mac := hmac.New(sha256.New, s.signatures)
	// Neither a purpose nor an epoch holds a line break.
	mac.Write([]byte(purpose + "\n" + s.epoch + "\n"))
	mac.Write(payload)
	encode := base64.RawURLEncoding.EncodeToString
	return s.epoch + "." + encode(payload) + "." + encode(mac.Sum(nil))
}
