package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadPeer(t *testing.T) {
	write := func(text string) string {
		file := filepath.Join(t.TempDir(), "peer.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	p, err := readPeer(write(`{"name": "x", "command": ["x"], "methods": ["client_secret_post"], "features": ["scope"]}`))
	if err != nil || !p.has("scope") || p.has("resource") || p.version() != "" {
		t.Errorf("got %+v, %v", p, err)
	}
	for _, bad := range []string{"", "{", `{}`, `{"name": "x", "command": ["x"]}`, `{"name": "x", "command": ["x"], "methods": ["a"], "method": "b"}`} {
		if _, err := readPeer(write(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	files, err := filepath.Glob("*/peer.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no descriptions: %v", err)
	}
	for _, file := range files {
		if p, err := readPeer(file); err != nil || p.version() == "" {
			t.Errorf("%s: version %q, %v", file, p.version(), err)
		}
	}
}

// TestJudge: what is not as it must be is found.
func TestJudge(t *testing.T) {
	token := answer{Token: "a", Type: "Bearer", ExpiresIn: 600}
	good := result{asked: 1, tokens: 2}
	wrong := result{row: row{wrong: true}, asked: 1, failedLogons: 1}
	refused := answer{Error: "server_error"}
	for name, test := range map[string]struct {
		out     result
		answers [2]answer
		ok      bool
	}{
		"good":           {good, [2]answer{token, token}, true},
		"two exchanges":  {result{asked: 2, tokens: 2}, [2]answer{token, token}, false},
		"another token":  {good, [2]answer{token, {Token: "b", Type: "Bearer", ExpiresIn: 600}}, false},
		"no life":        {good, [2]answer{{Token: "a", Type: "Bearer"}, token}, false},
		"bound":          {good, [2]answer{{Token: "a", Type: "Bearer", ExpiresIn: 600, bound: true}, token}, false},
		"no token":       {result{asked: 1}, [2]answer{refused, refused}, false},
		"wrong":          {wrong, [2]answer{refused, refused}, true},
		"wrong, twice":   {result{row: row{wrong: true}, asked: 2, failedLogons: 2}, [2]answer{refused, refused}, false},
		"wrong, a token": {result{row: row{wrong: true}, asked: 1, tokens: 1}, [2]answer{token, refused}, false},
		"audience":       {result{row: row{audience: "x"}, asked: 1, tokens: 2}, [2]answer{token, token}, false},
	} {
		if got := judge(test.out, test.answers); (got == "") != test.ok {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestPrintMatrix(t *testing.T) {
	var out strings.Builder
	printMatrix(&out, "server 1.0", []result{
		{row: row{method: "client_secret_post", key: "secret"}, asked: 1, tokens: 2},
		{row: row{method: "private_key_jwt", key: "PEM"}, problem: "none came"},
	})
	for _, want := range []string{"server 1.0", "client_secret_post  secret      1               0              2            ok", "NOT OK: none came"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
