package client

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Whatever answers in the vendor's place, there is a token whose times make sense, or an error
// that shows nothing of the answer.
func FuzzReadAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"access_token":"t","token_type":"Bearer","expires_in":60,"refresh_after":30}`, `{"access_token":"t","expires_in":-1e300}`,
		`{"error":"access_denied","error_description":"d"}`, `{"message":"User: x"}`, `{"errorType":"access_denied"}`, `[]`, `null`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		now := time.Unix(1_800_000_000, 0)
		if token, ok := readToken(body, now); ok {
			entry := token.entry()
			if token.accessToken == "" || token.refresh.After(token.expiry) || entry.Expire.After(token.expiry) || entry.Refresh.After(entry.Expire) && !entry.Expire.IsZero() {
				t.Errorf("got the times %v and %v", token.refresh, token.expiry)
			}
			if text := token.JSON(now); !json.Valid(text) {
				t.Error("got an answer that is not JSON")
			}
			if len(token.accessToken) > 20 && strings.Contains(fmt.Sprintf("%v%+v%#v", token, token, token), token.accessToken) {
				t.Error("a printed token shows itself")
			}
		}
		resp := &http.Response{StatusCode: http.StatusForbidden, Header: http.Header{}}
		for _, e := range []*Error{readError(resp, body), readFunctionError(resp, body)} {
			if e.Code != "" && statusOf(e.Code) == 0 {
				t.Errorf("got the code %q", e.Code)
			}
			_ = e.Error()
		}
	})
}
