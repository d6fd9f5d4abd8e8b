package keypair

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"slices"
)

// The object identifiers of RFC 7292 and RFC 2315.
const (
	oidData          = "1.2.840.113549.1.7.1"
	oidEncryptedData = "1.2.840.113549.1.7.6"
	oidKeyBag        = "1.2.840.113549.1.12.10.1.1"
	oidShroudedBag   = "1.2.840.113549.1.12.10.1.2"
)

var (
	errUnreadable = errors.New("is not a PKCS#12 file that can be read: it must be DER with one private key and its certificates")
	errTooCostly  = errors.New("is encrypted with more than 1000000 iterations, or in a way that is not supported")
)

// pfx is PFX (RFC 7292 section 4), content one of the contents of its authenticated safe.
type pfx struct {
	Version  int
	AuthSafe content
	MAC      pfxMAC `asn1:"optional"`
}

type content struct {
	Type asn1.ObjectIdentifier
	Data asn1.RawValue `asn1:"tag:0,explicit,optional"`
}

type pfxMAC struct {
	Digest struct {
		Algorithm pkix.AlgorithmIdentifier
		Value     []byte
	}
	Salt       []byte
	Iterations int `asn1:"optional,default:1"`
}

type encryptedContent struct {
	Version int
	Info    struct {
		Type      asn1.ObjectIdentifier
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte `asn1:"tag:0,optional"`
	}
}

type safeBag struct {
	ID         asn1.ObjectIdentifier
	Value      asn1.RawValue   `asn1:"tag:0,explicit"`
	Attributes []asn1.RawValue `asn1:"set,optional"`
}

type pbeParameters struct {
	Salt       []byte
	Iterations int
}

// parseFrame reads a file as far as it is not encrypted, and refuses what would cost too
// much to decrypt. It returns the contents, those in the clear first, and whether the
// file has a MAC.
func parseFrame(der []byte) (contents []asn1.RawValue, mac bool, err error) {
	var file pfx
	var authSafe []byte
	if !unmarshalAll(der, &file) || file.AuthSafe.Type.String() != oidData ||
		!unmarshalAll(file.AuthSafe.Data.Bytes, &authSafe) || !unmarshalAll(authSafe, &contents) {
		return nil, false, errUnreadable
	}
	mac = len(file.MAC.Digest.Algorithm.Algorithm) > 0
	if mac && !cheap(macIterations(file.MAC)) {
		return nil, false, errTooCostly
	}
	keys := 0
	var clear, sealed []asn1.RawValue
	for _, raw := range contents {
		var c content
		if !unmarshalAll(raw.FullBytes, &c) {
			return nil, false, errUnreadable
		}
		if c.Type.String() != oidData {
			sealed = append(sealed, raw)
			if err := checkSealed(c); err != nil {
				return nil, false, err
			}
			continue
		}
		clear = append(clear, raw)
		n, err := countKeys(c)
		if err != nil {
			return nil, false, err
		}
		keys += n
	}
	if keys != 1 {
		return nil, false, errors.New("must hold exactly one private key")
	}
	return slices.Concat(clear, sealed), mac, nil
}

func cheap(iterations int) bool { return iterations >= 1 && iterations <= maxIterations }

func checkSealed(c content) error {
	var sealed encryptedContent
	switch {
	case c.Type.String() != oidEncryptedData, !unmarshalAll(c.Data.Bytes, &sealed):
		return errUnreadable
	case !cheap(pbeIterations(sealed.Info.Algorithm)):
		return errTooCostly
	}
	return nil
}

// countKeys counts the private keys of a content in the clear. All programs that write
// PKCS#12 put them there, each encrypted by itself.
func countKeys(c content) (n int, err error) {
	var data []byte
	var bags []safeBag
	if !unmarshalAll(c.Data.Bytes, &data) || !unmarshalAll(data, &bags) {
		return 0, errUnreadable
	}
	for _, bag := range bags {
		switch bag.ID.String() {
		case oidKeyBag:
			n++
		case oidShroudedBag:
			n++
			var key encryptedKey
			switch {
			case !unmarshalAll(bag.Value.Bytes, &key):
				return 0, errUnreadable
			case !cheap(pbeIterations(key.Algorithm)):
				return 0, errTooCostly
			}
		}
	}
	return n, nil
}

// pbeIterations returns the number of iterations of a key derivation; 0 if it is unknown.
func pbeIterations(algorithm pkix.AlgorithmIdentifier) int {
	var p pbeParameters
	switch {
	case algorithm.Algorithm.String() == oidPBES2:
		return pbkdf2Iterations(algorithm)
	case !unmarshalAll(algorithm.Parameters.FullBytes, &p):
		return 0
	}
	return p.Iterations
}

// pbkdf2Iterations does the same for PBES2, and for PBMAC1, whose parameters have the same form.
func pbkdf2Iterations(algorithm pkix.AlgorithmIdentifier) int {
	var scheme pbes2
	var p pbkdf2Parameters
	if !unmarshalAll(algorithm.Parameters.FullBytes, &scheme) || scheme.KDF.Algorithm.String() != oidPBKDF2 ||
		!unmarshalAll(scheme.KDF.Parameters.FullBytes, &p) {
		return 0
	}
	return p.Iterations
}

// macIterations does the same for a MAC, which may be PBMAC1 (RFC 9579).
func macIterations(mac pfxMAC) int {
	if mac.Digest.Algorithm.Algorithm.String() == oidPBMAC1 {
		return pbkdf2Iterations(mac.Digest.Algorithm)
	}
	return mac.Iterations
}

// buildFrame writes a file with the contents in the order of parseFrame: the decoder meets
// the key whose cost was checked before any key that an encrypted content may hide behind
// a billion iterations, and stops at the second. The file needs a new MAC, because the
// decoder accepts a file without one for the empty password only.
func buildFrame(contents []asn1.RawValue, password string) ([]byte, error) {
	authSafe, err := asn1.Marshal(contents)
	data, dataErr := asn1.Marshal(authSafe)
	mac, macErr := newMAC(authSafe, password)
	der, derErr := asn1.Marshal(pfx{Version: 3, MAC: mac, AuthSafe: content{
		Type: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1},
		Data: asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: data},
	}})
	return der, errors.Join(err, dataErr, macErr, derErr)
}

// newMAC returns PBMAC1 (RFC 9579) with one iteration, which is enough because the file
// never leaves the process.
func newMAC(authSafe []byte, password string) (mac pfxMAC, err error) {
	salt := []byte("in memory")
	key, err := pbkdf2.Key(sha256.New, password, salt, 1, sha256.Size)
	sum := hmac.New(sha256.New, key)
	sum.Write(authSafe)
	hmacSHA256 := pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}}
	kdf, kdfErr := asn1.Marshal(pbkdf2Parameters{
		Salt:       asn1.RawValue{Tag: asn1.TagOctetString, Bytes: salt},
		Iterations: 1, KeyLength: sha256.Size, PRF: hmacSHA256,
	})
	parameters, parametersErr := asn1.Marshal(pbes2{
		KDF: pkix.AlgorithmIdentifier{
			Algorithm:  asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12},
			Parameters: asn1.RawValue{FullBytes: kdf},
		},
		Cipher: hmacSHA256,
	})
	mac.Digest.Algorithm = pkix.AlgorithmIdentifier{
		Algorithm:  asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 14},
		Parameters: asn1.RawValue{FullBytes: parameters},
	}
	mac.Digest.Value, mac.Salt, mac.Iterations = sum.Sum(nil), salt, 1
	return mac, errors.Join(err, kdfErr, parametersErr)
}
