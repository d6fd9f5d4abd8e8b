package apigateway

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
)

// fuzzed is a server that says whether the function was reached.
func fuzzed(f *testing.F) (s *Server, reached *int) {
	f.Helper()
	reached = new(int)
	s, err := New(config(func(context.Context, []byte) ([]byte, error) {
		*reached++
		return []byte(`{"statusCode":200}`), nil
	}))
	if err != nil {
		f.Fatal(err)
	}
	return s, reached
}

// Whatever the header is, only the one with the right signature is let in.
func FuzzAuthorization(f *testing.F) {
	s, reached := fuzzed(f)
	good := signedRecord(f).Header.Get("Authorization")
	signature := good[strings.LastIndex(good, "=")+1:]
	for _, seed := range []string{
		good, "", algorithm, algorithm + " ", "Bearer x", good + ",", good[:len(good)-1],
		strings.Replace(good, "host;", "", 1), strings.Replace(good, ",", " , ", -1), strings.ToUpper(good),
		strings.Replace(good, "Signature="+signature, "Signature="+strings.Repeat("0", 64), 1),
		strings.Replace(good, "/", "//", 1), good + ", Signature=" + signature,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		before := *reached
		req := signedRecord(t)
		req.Header.Set("Authorization", header)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, req)
		if let := *reached != before; let != (w.Code == 200) || let && !strings.Contains(header, signature) {
			t.Errorf("%q: %d", header, w.Code)
		}
	})
}

// Whatever the request target is, only the signed one is let in.
func FuzzPath(f *testing.F) {
	s, reached := fuzzed(f)
	const good = "/local/token/billing"
	for _, seed := range []string{
		good, "", "*", "/", "//", good + "/", good + "?", good + "?a=b", good + "?%zz", good + "#x", "/local/token/%62illing",
		"/local/token/%zz", "/local/token/..", "/local/./token/billing", "http://example.com" + good, "/local/token/\xff", "/local/token/billing%00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		before := *reached
		req := signedRecord(t)
		req.RequestURI = target
		w := httptest.NewRecorder()
		s.ServeHTTP(w, req)
		if let := *reached != before; let != (w.Code == 200) || let && strings.TrimRight(target, "?&") != good {
			t.Errorf("%q: %d", target, w.Code)
		}
	})
}

// Everything that a function may answer becomes an answer.
func FuzzProxyResponse(f *testing.F) {
	for _, seed := range []string{`{"statusCode":200,"headers":{"a":"b"},"body":"x"}`, `null`, `[]`, `{"statusCode":"200"}`, `{"multiValueHeaders":{"a":[1,true,"\n"]}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		cfg := config(func(context.Context, []byte) ([]byte, error) { return answer, nil })
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, signedRecord(t))
		if w.Code < 200 || w.Code > 599 {
			t.Errorf("%q: %d", answer, w.Code)
		}
	})
}
