package keypair

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"

	"tokenvendor/shared/strictjson"
)

const (
	beginMark = "-----BEGIN "
	endMark   = "-----END "
	markEnd   = "-----"
	maxLabel  = 40
	// maxBlocks is how many PEM blocks a private key and its certificates may have: a key, EC
	// PARAMETERS, and a chain of ten.
	maxBlocks = 12
)

// pemBlock is one PEM block.
type pemBlock struct {
	label string
	der   []byte
	// encrypted is set for blocks with the headers of RFC 1421, which OpenSSL wrote before
	// PKCS#8; der is then empty.
	encrypted bool
}

func (b pemBlock) isKey() bool { return strings.HasSuffix(b.label, "PRIVATE KEY") }

// besideKey reports whether a block may stand beside a private key: a certificate, or the
// curve, which openssl ecparam -genkey writes into a block of its own.
func (b pemBlock) besideKey() bool {
	return strings.HasSuffix(b.label, "CERTIFICATE") || b.label == "EC PARAMETERS"
}

// Holds reports what a text in PEM has by the first lines of its blocks. What follows them
// may still be broken.
func Holds(text string) (key, certificate bool) {
	for {
		_, after, ok := strings.Cut(text, beginMark)
		if !ok {
			return key, certificate
		}
		label, _, _ := strings.Cut(after[:min(len(after), maxLabel+len(markEnd))], markEnd)
		b := pemBlock{label: label}
		key, certificate, text = key || b.isKey(), certificate || strings.HasSuffix(label, "CERTIFICATE"), after
	}
}

// parsePEM reads at most limit PEM blocks (RFC 7468) as they survive environment
// variables, JSON and browsers: with literal \n, with CRLF, with spaces instead of line
// ends, or without the last line end. Text before a block is ignored, because OpenSSL
// puts attributes there; text after the last block is an error. The time is linear in the
// length of any input.
func parsePEM(text string, limit int) ([]pemBlock, error) {
	text = strings.NewReplacer(`\r`, "\n", `\n`, "\n").Replace(text)
	var blocks []pemBlock
	for {
		_, after, ok := strings.Cut(text, beginMark)
		if !ok {
			break
		}
		if len(blocks) == limit {
			return nil, errors.New("holds more than " + strconv.Itoa(limit) + " PEM blocks")
		}
		label, after, ok := strings.Cut(after, markEnd)
		if !ok || label == "" || len(label) > maxLabel {
			return nil, errors.New("has a PEM block with a broken first line")
		}
		body, after, ok := strings.Cut(after, endMark+label+markEnd)
		if !ok {
			return nil, errors.New("has a PEM block without an end line")
		}
		b, ok := parseBlock(label, body)
		if !ok {
			return nil, errors.New("has a PEM block that is not base64")
		}
		blocks, text = append(blocks, b), after
	}
	switch {
	case len(blocks) == 0 && strictjson.IsBase64(text, beginMark): // of a Kubernetes Secret
		return nil, errors.New("is not PEM but looks like base64 of it: decode it (base64 -d)")
	case len(blocks) == 0:
		return nil, errors.New("is not PEM")
	case strings.TrimSpace(text) != "":
		return nil, errors.New("has something behind the last PEM block")
	}
	return blocks, nil
}

func parseBlock(label, body string) (pemBlock, bool) {
	if strings.Contains(body, "Proc-Type:") {
		return pemBlock{label: label, encrypted: true}, true
	}
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(body), ""))
	return pemBlock{label: label, der: der}, err == nil && len(der) > 0
}
