package apigateway

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
)

// fuzzed returns a server and the number of events that reached its function.
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

// FuzzAuthorization: only a header with the correct signature is accepted.
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
		if accepted := *reached != before; accepted != (w.Code == 200) || accepted && !strings.Contains(header, signature) {
			t.Errorf("%q: got status %d and %t for accepted", header, w.Code, accepted)
		}
	})
}

// FuzzPath: only the signed request target is accepted.
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
		if accepted := *reached != before; accepted != (w.Code == 200) || accepted && strings.TrimRight(target, "?&") != good {
			t.Errorf("%q: got status %d and %t for accepted", target, w.Code, accepted)
		}
	})
}

// FuzzProxyResponse: each answer of a function becomes a valid HTTP response.
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
			t.Errorf("%q: got status %d", answer, w.Code)
		}
	})
}
