package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// says returns an scenario whose server answers with a text.
func says(name, oddity, text string, check func(*outcome) error) scenario {
	return scenario{name: name, oddity: oddity, document: native(nil), serve: behaviour{answer: token(text)}, check: check}
}

// answerHas returns a check of a member of the first answer to the caller.
func answerHas(member string, want any) func(*outcome) error {
	return func(v *outcome) error {
		if got := v.answers[0][member]; got != want {
			return fmt.Errorf("the caller got the %s %v, want %v", member, got, want)
		}
		return nil
	}
}

// answers are token responses of real servers.
func answers() []scenario {
	bearer := answerHas("token_type", "Bearer")
	plain := answerHas("access_token", theToken)
	all := []scenario{
		says("bearertoken", "Apigee: token_type BearerToken", `{"access_token":"`+theToken+`","token_type":"BearerToken","expires_in":60}`, bearer),
		says("lower-case", "token_type in any case", `{"access_token":"`+theToken+`","token_type":"bearer","expires_in":60}`, bearer),
		says("no-type", "no token_type", `{"access_token":"`+theToken+`","expires_in":60}`, bearer),
		says("scope-list", "scope as a list", `{"access_token":"`+theToken+`","token_type":"Bearer","expires_in":60,"scope":["read","write"]}`, answerHas("scope", "read write")),
		says("error-empty", "an empty error beside a token", `{"access_token":"`+theToken+`","token_type":"Bearer","expires_in":60,"error":"","error_description":null}`, plain),
		says("duplicate", "a member twice that the vendor does not read", `{"access_token":"`+theToken+`","token_type":"Bearer","expires_in":60,"issued_at":"1","issued_at":"2"}`, plain),
		says("latin-1", "a member that is not UTF-8", "{\"access_token\":\""+theToken+"\",\"token_type\":\"Bearer\",\"expires_in\":60,\"display\":\"M\xfcller\"}", plain),
		says("newline", "white space around the token", `{"access_token":"`+theToken+`\n","token_type":"Bearer","expires_in":60}`, plain),
		says("bom", "a byte order mark", "\ufeff"+`{"access_token":"`+theToken+`","token_type":"Bearer","expires_in":60}`, plain),
		says("exclamation", "Salesforce: ! in the token", `{"access_token":"00D!AQ.zoo_0123456789","token_type":"Bearer","expires_in":60}`, answerHas("access_token", "00D!AQ.zoo_0123456789")),
	}
	for name, lifetime := range map[string]string{"lifetime-zero": "0", "lifetime-minus": "-1", "lifetime-date": `"2030-01-01T00:00:00Z"`, "lifetime-nonsense": `"soon"`} {
		a := says(name, "expires_in is "+lifetime+": passed on, and not kept", `{"access_token":"`+theToken+`","token_type":"Bearer","expires_in":`+lifetime+`}`, exchanges(2))
		a.asks = []string{"", ""}
		b := a
		b.name, b.oddity, b.check = name+"-assumed", "the same with assume_expires_in: kept", exchanges(1)
		b.document = native(doc{"assume_expires_in": 300})
		all = append(all, a, b)
	}
	return append(append(all, lives()...),
		scenario{name: "mac", oddity: "token_type mac is refused", document: native(nil), serve: behaviour{answer: token(`{"access_token":"` + theToken + `","token_type":"mac","expires_in":60}`)}, refused: "token_type"},
		scenario{name: "blank", oddity: "a blank within the token is refused", document: native(nil), serve: behaviour{answer: token(`{"access_token":"zoo token 0123456789","token_type":"Bearer","expires_in":60}`)}, refused: "access_token"},
	)
}

// lives are tokens whose own end counts.
func lives() []scenario {
	jwt := func(left time.Duration) string {
		claims := fmt.Sprintf(`{"exp":%d}`, time.Now().Add(left).Unix())
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
	}
	own := says("jwt-exp", "no expires_in, and a JWT with exp: kept until then", `{"access_token":"`+jwt(5*time.Minute)+`","token_type":"Bearer"}`, exchanges(1))
	own.asks = []string{"", ""}
	capped := says("milliseconds", "expires_in in milliseconds: exp caps it", `{"access_token":"`+jwt(5*time.Minute)+`","token_type":"Bearer","expires_in":300000}`, func(v *outcome) error {
		if left, _ := v.answers[0]["expires_in"].(float64); left > 301 || left < 200 {
			return fmt.Errorf("the caller got the expires_in %v", left)
		}
		return nil
	})
	return []scenario{own, capped}
}

// metadata are servers whose endpoint is discovered (RFC 8414).
func metadata() []scenario {
	discovered := func(h string) any {
		return doc{"issuer": "https://" + h + "/tenant", "client_id": theID, "client_secret": theSecret}
	}
	// at answers the metadata at the location of RFC 8414, and other GET requests by other.
	at := func(text func(host string) string, other http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodPost:
				token(`{"access_token":"`+theToken+`","token_type":"Bearer","expires_in":60}`)(w, r)
			case strings.HasPrefix(r.URL.Path, "/.well-known/oauth-authorization-server"):
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, text(r.Host))
			default:
				other(w, r)
			}
		}
	}
	good := func(host string) string {
		return `{"issuer":"https://` + host + `/tenant","token_endpoint":"https://` + host + `/t/token"}`
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	page := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html>sign in</html>")
	}
	toToken := func(v *outcome) error {
		for _, r := range v.requests {
			if r.method == http.MethodPost && r.path == "/t/token" {
				return nil
			}
		}
		return fmt.Errorf("no request reached the discovered endpoint")
	}
	return []scenario{
		{name: "forbidden", oddity: "403 at the first location of the metadata", document: fixed(discovered), serve: behaviour{answer: at(good, status(http.StatusForbidden))}, check: toToken},
		{name: "redirected", oddity: "a redirect there", document: fixed(discovered), serve: behaviour{answer: at(good, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) })}, check: toToken},
		{name: "page", oddity: "a page there", document: fixed(discovered), serve: behaviour{answer: at(good, page)}, check: toToken},
		{name: "metadata-bom", oddity: "metadata with a byte order mark", document: fixed(discovered), serve: behaviour{answer: at(func(h string) string { return "\ufeff" + good(h) }, status(http.StatusNotFound))}, check: toToken},
		{name: "last-slash", oddity: "an issuer that differs by its last slash", document: fixed(discovered), serve: behaviour{answer: at(func(h string) string { return strings.Replace(good(h), "/tenant", "/tenant/", 1) }, status(http.StatusNotFound))}, refused: "slash"},
	}
}
