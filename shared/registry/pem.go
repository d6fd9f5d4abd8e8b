package registry

import (
	"crypto/x509"
	"encoding/base64"
	"strconv"
	"strings"
)

const (
	beginMark = "-----BEGIN "
	endMark   = "-----END "
	markEnd   = "-----"
	maxLabel  = 40
	convert   = "; convert it with openssl pkcs8 -topk8 -v2 aes-256-cbc"
)

// block is one PEM block.
type block struct {
	label string
	der   []byte
	// encrypted: with the headers of RFC 1421, as OpenSSL did it before
	// PKCS#8; der is empty.
	encrypted bool
}

// parsePEM reads PEM blocks (RFC 7468) as they survive environment variables,
// JSON and browsers: with literal \n, CRLF, spaces in the place of line ends,
// or without the last line end. Text before a block is let pass, since OpenSSL
// puts attributes there; text after the last is not. It goes over the text once
// whatever is in it. problem is empty, or says what is wrong.
func parsePEM(text string, limit int) (blocks []block, problem string) {
	text = strings.NewReplacer(`\r`, "\n", `\n`, "\n").Replace(text)
	for {
		_, rest, ok := strings.Cut(text, beginMark)
		if !ok {
			break
		}
		if len(blocks) == limit {
			return nil, "holds more than " + strconv.Itoa(limit) + " PEM blocks"
		}
		label, rest, ok := strings.Cut(rest, markEnd)
		if !ok || label == "" || len(label) > maxLabel {
			return nil, "has a PEM block with a broken first line"
		}
		body, rest, ok := strings.Cut(rest, endMark+label+markEnd)
		if !ok {
			return nil, "has a PEM block without an end line"
		}
		b, ok := parseBlock(label, body)
		if !ok {
			return nil, "has a PEM block that is not base64"
		}
		blocks, text = append(blocks, b), rest
	}
	switch {
	case len(blocks) == 0:
		return nil, "is not PEM"
	case strings.TrimSpace(text) != "":
		return nil, "has something behind the last PEM block"
	}
	return blocks, ""
}

func parseBlock(label, body string) (block, bool) {
	if strings.Contains(body, "Proc-Type:") {
		return block{label: label, encrypted: true}, true
	}
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(body), ""))
	return block{label: label, der: der}, err == nil && len(der) > 0
}

// parseCertificates reads PEM certificates.
func parseCertificates(text string, limit int) (certificates []*x509.Certificate, problem string) {
	blocks, problem := parsePEM(text, limit)
	if problem != "" {
		return nil, problem
	}
	for _, b := range blocks {
		switch {
		case strings.HasSuffix(b.label, "PRIVATE KEY"):
			return nil, "holds a private key, which does not belong there"
		case b.label != "CERTIFICATE" && b.label != "X509 CERTIFICATE":
			return nil, "holds a PEM block that is not a certificate"
		}
		certificate, err := x509.ParseCertificate(b.der)
		if err != nil {
			return nil, "holds a certificate that cannot be read"
		}
		certificates = append(certificates, certificate)
	}
	return certificates, ""
}
