package registry

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
)

// The object identifiers of RFC 7292 and RFC 2315.
const (
	oidData          = "1.2.840.113549.1.7.1"
	oidEncryptedData = "1.2.840.113549.1.7.6"
	oidKeyBag        = "1.2.840.113549.1.12.10.1.1"
	oidShroudedBag   = "1.2.840.113549.1.12.10.1.2"
)

// pfx is PFX (RFC 7292 section 4), safe one of the contents of its
// authenticated safe.
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

// frame reads a file as far as it isn't encrypted, and refuses what would cost
// too much to decrypt. It returns the contents, those in the clear first. mac
// reports whether the file has a MAC.
func frame(der []byte) (contents []asn1.RawValue, mac bool, problem string) {
	var file pfx
	var authSafe []byte
	if !unmarshalAll(der, &file) || file.AuthSafe.Type.String() != oidData ||
		!unmarshalAll(file.AuthSafe.Data.Bytes, &authSafe) || !unmarshalAll(authSafe, &contents) {
		return nil, false, unreadablePKCS12
	}
	mac = len(file.MAC.Digest.Algorithm.Algorithm) > 0
	if mac && !cheap(macIterations(file.MAC)) {
		return nil, false, tooCostly()
	}
	keys := 0
	var clear, sealed []asn1.RawValue
	for _, raw := range contents {
		var c content
		if !unmarshalAll(raw.FullBytes, &c) {
			return nil, false, unreadablePKCS12
		}
		if c.Type.String() != oidData {
			sealed = append(sealed, raw)
			if problem := checkSealed(c); problem != "" {
				return nil, false, problem
			}
			continue
		}
		clear = append(clear, raw)
		n, problem := countKeys(c)
		if problem != "" {
			return nil, false, problem
		}
		keys += n
	}
	if keys != 1 {
		return nil, false, "must hold exactly one private key"
	}
	return slices.Concat(clear, sealed), mac, ""
}

func tooCostly() string {
	return "is encrypted with more than 1000000 iterations, or in a way that is not supported"
}

func cheap(iterations int) bool { return iterations >= 1 && iterations <= maxIterations }

func checkSealed(c content) string {
	var sealed encryptedContent
	if c.Type.String() != oidEncryptedData || !unmarshalAll(c.Data.Bytes, &sealed) {
		return unreadablePKCS12
	}
	if !cheap(pbeIterations(sealed.Info.Algorithm)) {
		return tooCostly()
	}
	return ""
}

// countKeys counts the private keys of a content in the clear. Every program
// that writes PKCS#12 puts them there, each encrypted by itself.
func countKeys(c content) (n int, problem string) {
	var data []byte
	var bags []safeBag
	if !unmarshalAll(c.Data.Bytes, &data) || !unmarshalAll(data, &bags) {
		return 0, unreadablePKCS12
	}
	for _, bag := range bags {
		switch bag.ID.String() {
		case oidKeyBag:
			n++
		case oidShroudedBag:
			n++
			var key encryptedKey
			if !unmarshalAll(bag.Value.Bytes, &key) {
				return 0, unreadablePKCS12
			}
			if !cheap(pbeIterations(key.Algorithm)) {
				return 0, tooCostly()
			}
		}
	}
	return n, ""
}

// pbeIterations returns how often a password is hashed; 0: unknown.
func pbeIterations(algorithm pkix.AlgorithmIdentifier) int {
	if algorithm.Algorithm.String() == oidPBES2 {
		var scheme pbes2
		if !unmarshalAll(algorithm.Parameters.FullBytes, &scheme) {
			return 0
		}
		return pbkdf2Iterations(scheme.KDF)
	}
	var p pbeParameters
	if !unmarshalAll(algorithm.Parameters.FullBytes, &p) {
		return 0
	}
	return p.Iterations
}

func pbkdf2Iterations(kdf pkix.AlgorithmIdentifier) int {
	var p pbkdf2Parameters
	if kdf.Algorithm.String() != oidPBKDF2 || !unmarshalAll(kdf.Parameters.FullBytes, &p) {
		return 0
	}
	return p.Iterations
}

// macIterations is the same for the MAC, which since RFC 9579 may be PBMAC1.
func macIterations(mac pfxMAC) int {
	if mac.Digest.Algorithm.Algorithm.String() != oidPBMAC1 {
		return mac.Iterations
	}
	var p pbes2 // PBMAC1-params has the same shape
	if !unmarshalAll(mac.Digest.Algorithm.Parameters.FullBytes, &p) {
		return 0
	}
	return pbkdf2Iterations(p.KDF)
}
