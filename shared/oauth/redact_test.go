package oauth

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// TestSharePieceFindsEveryPiece: any eight successive bytes of a credential are found wherever they
// are in a text, and seven are not.
func TestSharePieceFindsEveryPiece(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	letters := func(alphabet string, n int) string {
		var b strings.Builder
		for range n {
			b.WriteByte(alphabet[random.IntN(len(alphabet))])
		}
		return b.String()
	}
	for range 2000 {
		// Two letters make many pairs equal that are no piece.
		credential := letters("ab\xff", 9+random.IntN(30))
		text := letters("ab\xff", random.IntN(60))
		want := false
		for i := 0; i+8 <= len(credential); i++ {
			want = want || strings.Contains(text, credential[i:i+8])
		}
		if got := sharePiece(text, credential); got != want {
			t.Fatalf("sharePiece(%q, %q) = %v, want %v", text, credential, got, want)
		}
		at := random.IntN(len(credential) - 7)
		if !sharePiece(letters("xyz", random.IntN(9))+credential[at:at+8]+letters("xyz", random.IntN(9)), credential) {
			t.Fatalf("the bytes from %d of %q were not found", at, credential)
		}
		if sharePiece(letters("xyz", 9)+credential[at:at+7]+letters("xyz", 9), credential) {
			t.Fatalf("seven bytes from %d of %q were taken for a piece", at, credential)
		}
	}
	for _, text := range []string{"", "a", "abcdefg", "abcdefghi"} {
		if got, want := sharePiece("x"+text, text), text != ""; got != want {
			t.Errorf("sharePiece(x%s, %s) = %v, want %v", text, text, got, want)
		}
	}
}

// eachByte formats every byte of a text.
func eachByte(format, text string) string {
	var b strings.Builder
	for i := range len(text) {
		fmt.Fprintf(&b, format, text[i])
	}
	return b.String()
}

// escapes are the ways in which a server may escape a text.
func escapes() map[string]func(string) string {
	return map[string]func(string) string{
		"none": func(s string) string { return s }, "percent": func(s string) string { return eachByte("%%%02x", s) }, "form": url.QueryEscape, "path": url.PathEscape, "JSON": func(s string) string { return eachByte(`\u%04X`, s) },
		"JSON quote": func(s string) string { return strings.Trim(strconv.QuoteToASCII(s), `"`) }, "JSON slash": func(s string) string { return strings.ReplaceAll(s, "/", `\/`) }, "byte": func(s string) string { return eachByte(`\x%02x`, s) },
		"percent u": func(s string) string { return eachByte("%%u%04x", s) }, "HTML": html.EscapeString, "HTML number": func(s string) string { return eachByte("&#%d;", s) }, "HTML hex": func(s string) string { return eachByte("&#x%X;", s) },
	}
}

// encodings are the ways in which a server may encode a text as a part of more.
func encodings() map[string]func(string) string {
	all := map[string]func(string) string{
		"hex": func(s string) string { return hex.EncodeToString([]byte(s)) }, "HEX": func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
		"hex after a digit": func(s string) string { return "7" + hex.EncodeToString([]byte(s)) },
	}
	for name, encoding := range map[string]*base64.Encoding{"": base64.StdEncoding, " URL": base64.URLEncoding, " raw": base64.RawStdEncoding, " URL raw": base64.RawURLEncoding} {
		for prefix := range 4 {
			all[fmt.Sprintf("base64%s after %d bytes", name, prefix)] = func(s string) string { return encoding.EncodeToString([]byte("id:x"[4-prefix:] + s)) }
			all[fmt.Sprintf("base64%s after %d characters", name, prefix)] = func(s string) string { return "abcd"[4-prefix:] + encoding.EncodeToString([]byte(s)) }
		}
	}
	return all
}

// TestRedactEchoDecodes: the secret is found however it is escaped twice, or encoded and escaped.
func TestRedactEchoDecodes(t *testing.T) {
	for _, secret := range []string{"aB?cD:eF/gH=iJ", `zq/+%&"<\$>-CNRY-0123`, "a b%41&lt;c+d e~f", "short7!", "~~?~~>~~?~~>~~?~~>~~?~~>", "8f14e45fceea167a5a36dedd4bea2543"} {
		sent := sentCredentials(url.Values{"client_secret": {secret}}, http.Header{})
		redacts := func(name, text string) {
			if text = "bad secret " + text + " given"; redactEcho(text, sent) != redacted {
				t.Errorf("%s: got the secret %q in %.200q", name, secret, text)
			}
		}
		for first, inner := range escapes() {
			for second, outer := range escapes() {
				redacts(first+", "+second, outer(inner(secret)))
			}
			redacts(first+", form four times", url.QueryEscape(url.QueryEscape(url.QueryEscape(url.QueryEscape(inner(secret))))))
			for encoding, encode := range encodings() {
				redacts(first+", "+encoding, encode(inner(secret)))
				redacts(encoding+", "+first, inner(encode(secret)))
			}
		}
	}
	if got := redactEcho("the secret is wrong: %ab1234", []string{"ab1234"}); got != redacted {
		t.Errorf("after a percent sign: got %q", got)
	}
	if got := redactEcho("100%"+strings.Repeat("25", 20)+"41", []string{"unlike the text"}); got != redacted {
		t.Errorf("escaped without end: got %q", got)
	}
}

// TestRedactEchoKeepsUsefulText: what operators need is not taken for a secret.
func TestRedactEchoKeepsUsefulText(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var credentials []string
	for _, alphabet := range []string{"0123456789abcdef", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"} {
		for _, n := range []int{4, 32, 64, 2000} {
			var b strings.Builder
			for range n {
				b.WriteByte(alphabet[random.IntN(len(alphabet))])
			}
			credentials = append(credentials, b.String())
		}
	}
	for _, text := range []string{
		"Bad credentials", "Client not found", "Unsupported instance credential for x.509", "AADSTS7000222: The provided client secret keys for app '00000003-0000-0000-c000-000000000000' are expired. Trace ID: 7d2f4c1e-9a0b-4c3d-8e5f-123456789abc",
		"invalid scope uaa.resource, see https://my-subdomain.authentication.eu10.hana.ondemand.com/oauth/token", "the client sb-0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9!b1234|xsuaa!b5678 has no authority",
		"request urn:sap:identity:application:provider:name:cert=100%25 AT&amp;T C:\\temp \u00e4", "correlation 5f3759df5f3759df5f3759df5f3759df", "SHA-256 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "",
	} {
		if got := redactEcho(text, credentials); got != text {
			t.Errorf("%q: got %q, want it unchanged", text, got)
		}
	}
}

// FuzzRedactEcho: the result is the beginning of the text, or hides all of it, and always hides a
// secret that the text has as it is or in base64.
func FuzzRedactEcho(f *testing.F) {
	for _, seed := range []string{"bad ", "%2525", `\u005cu0041`, "&amp;#x41;", "5a5", "aWQ6", "\xff\x00", "a+b-c_d/"} {
		f.Add(seed, "canary-0123456789", seed)
	}
	f.Fuzz(func(t *testing.T, before, secret, after string) {
		text := before + after
		if got := redactEcho(text, []string{secret}); got != redacted && (!strings.HasPrefix(text, got) || len(got) < min(len(text), 4*200)) {
			t.Errorf("%q: got %q", text, got)
		}
		if len(secret) < 16 || len(before) > 100 || len(secret) > 200 {
			return
		}
		for _, echo := range []string{secret, " " + base64.StdEncoding.EncodeToString([]byte(before+secret+after))} {
			if got := redactEcho(before+echo+after, []string{secret}); got != redacted {
				t.Errorf("got the secret %q in %q", secret, got)
			}
		}
	})
}

// BenchmarkRedactEcho has texts that take long: all of a text may be a part of the credential.
func BenchmarkRedactEcho(b *testing.B) {
	assertion := strings.Repeat("eyJhbGciOiJSUzI1NiJ9.", 400)
	for name, text := range map[string]string{
		"identifier": "7d2f4c1e-9a0b-4c3d-8e5f-123456789abc", "description": strings.Repeat("the client is not known ", 8),
		"pieces": strings.Repeat("eyJhbGx", 1000), "escapes": strings.Repeat("%252525", 1000), "hex": strings.Repeat("5a4b3c", 1000), "words": strings.Repeat("abcdef ", 1000),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_ = redactEcho(text, []string{assertion, "a secret of twenty-five b", assertion})
			}
		})
	}
}
