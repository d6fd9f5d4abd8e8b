package oauth

import (
	"encoding/base64"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sent is what an attempt sent. Servers are known to repeat it in their answers.
type sent struct {
	start       time.Time // on the local clock
	url         string
	form        url.Values
	header      http.Header
	credentials []string      // see sentCredentials
	proven      bool          // that of the Request
	assume      time.Duration // Dialect.AssumeLifetime
}

// contains reports whether the attempt sent word, which is in lower case, also where a
// server would find it only after it decoded a value.
func (s sent) contains(word string) bool {
	texts := append([]string{s.url}, s.credentials...)
	for _, values := range []map[string][]string{s.form, s.header} {
		for name, value := range values {
			texts = append(append(texts, name), value...)
		}
	}
	return slices.ContainsFunc(texts, func(text string) bool {
		text = html.UnescapeString(unescape(unescape(text)))
		return strings.Contains(strings.ToLower(text), word)
	})
}

// sentCredentials returns the forms in which an attempt sent the client's credential, to
// recognise an answer that repeats it.
func sentCredentials(form url.Values, header http.Header) []string {
	var sent []string
	for _, text := range []string{form.Get("client_secret"), form.Get("client_assertion")} {
		if text != "" {
			sent = append(sent, text, url.QueryEscape(text), base64.StdEncoding.EncodeToString([]byte(text)))
		}
	}
	if _, basic, ok := strings.Cut(header.Get("Authorization"), " "); ok {
		text, _ := base64.StdEncoding.DecodeString(basic)
		_, secret, _ := strings.Cut(string(text), ":")
		// It is "" for BasicRaw if the secret has no valid form encoding.
		decoded, _ := url.QueryUnescape(secret)
		sent = append(sent, basic, secret, decoded)
	}
	return sent
}

// redactEcho returns text, or [redacted] if it contains a part of a credential that was
// sent, as it is or escaped for a URL or HTML: servers are known to quote what they refuse.
func redactEcho(text string, sent []string) string {
	text = text[:min(len(text), 4<<10)]
	for _, variant := range slices.Compact([]string{text, unescape(text), html.UnescapeString(text)}) {
		if slices.ContainsFunc(sent, func(credential string) bool { return sharePiece(variant, credential) }) {
			return redacted
		}
	}
	return text
}

// sharePiece reports whether text contains the credential or a piece of it.
func sharePiece(text, credential string) bool {
	const piece = 8 // bytes that a text and a secret do not share by chance
	if len(credential) <= piece {
		return credential != "" && strings.Contains(text, credential)
	}
	// A search takes long. It is made only for bytes each pair of which the credential has, too.
	const pairs = 1 << 10
	pair := func(s string, i int) int { return (int(s[i])<<5 ^ int(s[i+1])) % pairs }
	var known [pairs]bool
	for i := range len(credential) - 1 {
		known[pair(credential, i)] = true
	}
	run := 1 // bytes up to the next one
	for i := range len(text) - 1 {
		if run++; !known[pair(text, i)] {
			run = 1
		}
		if run >= piece && strings.Contains(credential, text[i+2-piece:i+2]) {
			return true
		}
	}
	return false
}

// unescape decodes the valid URL escapes of text and keeps the invalid ones.
func unescape(text string) string {
	text = strings.ReplaceAll(text, "+", " ")
	b := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '%' && i+2 < len(text) {
			if n, err := strconv.ParseUint(text[i+1:i+3], 16, 8); err == nil {
				c = byte(n)
				i += 2
			}
		}
		b = append(b, c)
	}
	return string(b)
}

// notNQSCHAR is true outside %x20-21 / %x23-5B / %x5D-7E (RFC 6749 appendix A).
func notNQSCHAR(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }

// Printable returns text in the character set of error_description (RFC 6749 section 5.2):
// printable ASCII without quotation mark and backslash. It replaces other characters by
// "?" and returns at most 200 characters.
func Printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if notNQSCHAR(r) {
			return '?'
		}
		return r
	}, text)
	return text[:min(len(text), 200)]
}
