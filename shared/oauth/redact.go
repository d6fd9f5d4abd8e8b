package oauth

import (
	"encoding/base64"
	"encoding/hex"
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
		plain, _ := unescape(text)
		return strings.Contains(strings.ToLower(plain), word)
	})
}

// sentCredentials returns the client's credential as an attempt sent it, to recognise an answer
// that repeats it.
func sentCredentials(form url.Values, header http.Header) []string {
	sent := []string{form.Get("client_secret"), form.Get("client_assertion")}
	if _, basic, ok := strings.Cut(header.Get("Authorization"), " "); ok {
		text, _ := base64.StdEncoding.DecodeString(basic)
		_, secret, _ := strings.Cut(string(text), ":")
		// It is "" for BasicRaw if the secret has no valid form encoding.
		decoded, _ := url.QueryUnescape(secret)
		sent = append(sent, basic, secret, decoded)
	}
	return sent
}

// maxEcho is how much of a text is searched: four bytes for each character that [Printable] keeps,
// and the rest of a piece that begins there.
const maxEcho = 1 << 10

// redactEcho returns text, or [redacted] if it contains a part of a credential that was
// sent, as it is or encoded: servers are known to quote what they refuse.
func redactEcho(text string, sent []string) string {
	text = text[:min(len(text), maxEcho)]
	readings, ok := read(text)
	if !ok {
		return redacted
	}
	spaced := func(s string) string { return strings.ReplaceAll(s, "+", " ") } // as a form has it
	readings = spaced(readings)
	for _, credential := range sent {
		plain, _ := unescape(credential)
		for _, c := range slices.Compact([]string{credential, plain}) {
			if sharePiece(readings, spaced(c)) {
				return redacted
			}
		}
	}
	return text
}

// read returns what text may stand for: itself, without escapes, and what its hex and base64 stand
// for, with a zero byte between them. It returns false if it cannot tell, because text is escaped
// too often.
func read(text string) (readings string, ok bool) {
	plain, ok := unescape(text)
	all := []string{text, plain}
	for _, decoded := range decode(plain) {
		inner, _ := unescape(decoded)
		all = append(all, decoded, inner)
	}
	return strings.Join(all, "\x00"), ok
}

// decode returns what the hex and the base64 in text stand for, of both alphabets and without regard
// to padding. Where the encoded bytes begin is not known, because the characters before them may
// belong to the same alphabet.
func decode(text string) (decoded []string) {
	const least = 6 // characters: fewer are no piece
	for _, run := range strings.FieldsFunc(text, notHex) {
		for start := 0; start < 2 && len(run) >= least+start; start++ {
			b, _ := hex.DecodeString(run[start:]) // b is what is valid
			decoded = append(decoded, string(b))
		}
	}
	standard := strings.NewReplacer("-", "+", "_", "/").Replace(text)
	for _, run := range strings.FieldsFunc(standard, notBase64) {
		for start := 0; start < 4 && len(run) >= least+start; start++ {
			b, _ := base64.RawStdEncoding.DecodeString(run[start:])
			decoded = append(decoded, string(b))
		}
	}
	return decoded
}

func notHex(r rune) bool { return (r|0x20 < 'a' || r|0x20 > 'f') && (r < '0' || r > '9') }

func notBase64(r rune) bool {
	return (r|0x20 < 'a' || r|0x20 > 'z') && (r < '0' || r > '9') && r != '+' && r != '/'
}

// sharePiece reports whether text contains the credential or a piece of it.
func sharePiece(text, credential string) bool {
	const piece = 8 // bytes that a text and a secret do not share by chance
	if len(credential) <= piece {
		return credential != "" && strings.Contains(text, credential)
	}
	if len(credential) > len(text) {
		credential, text = text, credential // what they share is the same
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

// unescape decodes the valid escapes of URLs, HTML and JSON in text until there are none, and keeps
// the invalid ones. It returns false if it has to give up.
func unescape(text string) (plain string, ok bool) {
	const most = 8 // times
	for range most {
		if !strings.ContainsAny(text, `%\&`) {
			return text, true
		}
		once := unescapeOnce(text)
		if once == text {
			return text, true
		}
		text = once
	}
	return text, false
}

// unescapeOnce is unescape without what becomes an escape only then.
func unescapeOnce(text string) string {
	b := make([]byte, 0, len(text))
	for text != "" {
		decoded, size := escape(text)
		if size == 0 {
			decoded, size = text[:1], 1
		}
		b = append(b, decoded...)
		text = text[size:]
	}
	return string(b)
}

// escape returns what the escape at the start of text stands for, and its length; 0: there is none.
func escape(text string) (decoded string, size int) {
	switch text[0] {
	case '&':
		return entity(text)
	case '%', '\\':
	default:
		return "", 0
	}
	if n, ok := digits(text, 2, 4); ok && text[1]|0x20 == 'u' {
		return string(rune(n)), 6
	}
	if n, ok := digits(text, 2, 2); ok && text[:2] == `\x` {
		return string([]byte{byte(n)}), 4
	}
	if n, ok := digits(text, 1, 2); ok && text[0] == '%' {
		return string([]byte{byte(n)}), 3
	}
	if text[0] == '\\' && len(text) > 1 {
		return text[1:2], 2
	}
	return "", 0
}

// entity is escape for a character reference of HTML, of the names that programs write for ASCII.
// The two thousand names of package html would add 20 KB to the function's zip.
func entity(text string) (decoded string, size int) {
	const longest = len("&#x0010FFFF;")
	name, _, ok := strings.Cut(text[1:min(len(text), longest)], ";")
	size = len(name) + len("&;")
	switch {
	case !ok:
		return "", 0
	case name == "amp":
		return "&", size
	case name == "lt":
		return "<", size
	case name == "gt":
		return ">", size
	case name == "quot":
		return `"`, size
	case name == "apos":
		return "'", size
	}
	number, ok := strings.CutPrefix(strings.ToLower(name), "#")
	base := 10
	if hexadecimal, ok := strings.CutPrefix(number, "x"); ok {
		number, base = hexadecimal, 16
	}
	n, err := strconv.ParseUint(number, base, 21)
	if !ok || err != nil {
		return "", 0
	}
	return string(rune(n)), size
}

// digits returns the hex number of n digits at a position of text.
func digits(text string, at, n int) (uint64, bool) {
	if len(text) < at+n {
		return 0, false
	}
	number, err := strconv.ParseUint(text[at:at+n], 16, 16)
	return number, err == nil
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
