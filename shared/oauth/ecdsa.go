package oauth

import (
	"encoding/asn1"
	"errors"
	"math/big"
)

// JoinECDSA turns an ECDSA signature from the DER form that crypto and AWS KMS
// make into the form of JWS: r and s, size bytes each (RFC 7518 section 3.4).
func JoinECDSA(der []byte, size int) ([]byte, error) {
	var sig struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &sig)
	if err != nil || len(rest) > 0 || sig.R.Sign() <= 0 || sig.S.Sign() <= 0 ||
		sig.R.BitLen() > 8*size || sig.S.BitLen() > 8*size {
		return nil, errors.New("not an ECDSA signature of this size")
	}
	joined := make([]byte, 2*size)
	sig.R.FillBytes(joined[:size])
	sig.S.FillBytes(joined[size:])
	return joined, nil
}
