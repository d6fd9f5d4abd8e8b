package strictjson_test

import (
	"regexp"
	"strings"
	"testing"

	"tokenvendor/shared/strictjson"
)

// mistakes are texts that are no JSON object, with what Problem says after "is not a JSON
// object: ".
func mistakes() []struct{ name, text, want string } {
	return []struct{ name, text, want string }{
		{"nothing", " \n", "it is empty"},
		{"trailing comma", "{\n  \"client_id\": \"cnry\",\n}", "a comma before } or ] at line 3, column 1"},
		{"trailing comma in a list", `{"scope":["cnry",]}`, "a comma before } or ] at line 1, column 18"},
		{"single quotes", "{\n  'client_id': 'cnry'}", "a single quote: use double quotes at line 2, column 3"},
		{"single quotes around it", `'{"client_id":"cnry"}'`, "a single quote at line 1, column 1"},
		{"quoted twice", `"{\"client_id\":\"cnry\"}"`, "it is quoted twice: a JSON object inside of a JSON string"},
		{"escaped once too often", `{\"client_id\":\"cnry\"}`, "a backslash outside of a string: the text was escaped once too often at line 1, column 2"},
		{"escaped without a brace", `\"client_id\":\"cnry\"`, "a quote after a backslash: the text was escaped once too often at line 1, column 1"},
		{"string", `"cnry"`, "it is a JSON string"},
		{"list", `[{"client_id":"cnry"}]`, "it is a list"},
		{"list that is not complete", `[{"client_id":"cnry"}`, "it begins as a list or a string at line 1, column 1"},
		{"number", "4711", "it is another JSON value"},
		{"half a character", `{"client_secret":"cnry\ud800"}`, `an escape of half a character`},
		{"byte order mark", "\ufeff{}", "it begins with a byte order mark"},
		{"UTF-16", "\xff\xfe{\x00}\x00", "it looks like UTF-16; UTF-8 is needed"},
		{"UTF-16 without a mark", "\x00{\x00}", "it looks like UTF-16; UTF-8 is needed"},
		{"Latin-1", "{\"name\":\"Jürg\",\n\"other\":\"M\xfcller\"}", "a byte that is not UTF-8 at line 2, column 11"},
		{"HTML", "<!doctype html><title>cnry", "it looks like HTML or XML at line 1, column 1"},
		{"PEM", "\n-----BEGIN RSA PRIVATE KEY-----\ncnry", "it looks like PEM at line 2, column 1"},
		{"YAML", "---\nclient_id: cnry", "it looks like YAML at line 1, column 1"},
		{"YAML without dashes", "client_id: cnry", "it looks like YAML, or { is missing at line 1, column 1"},
		{"members without a brace", `"client_id": "cnry"}`, "it begins as a list or a string at line 1, column 1"},
		{"form", "client_id=cnry&client_secret=cnry", "it looks like lines or a form of name=value at line 1, column 1"},
		{"base64", "eyJjbGllbnRfaWQiOiJjbnJ5In0K", "it looks like base64: decode it (base64 -d) at line 1, column 1"},
		{"base64 of an indented object", "CiAgeyJjbGllbnRfaWQiOiJjbnJ5In0K", "it looks like base64: decode it (base64 -d) at line 1, column 1"},
		{"base64 in quotes", `"eyJjbGllbnRfaWQiOiJjbnJ5In0K"`, "it looks like base64: decode it (base64 -d)"},
		{"fence", "```json\n{\"client_id\":\"cnry\"}\n```", "a fence of Markdown: only the text inside of it is needed at line 1, column 1"},
		{"fence of tildes", "~~~\n{\"client_id\":\"cnry\"}\n~~~", "a fence of Markdown: only the text inside of it is needed at line 1, column 1"},
		{"fence after the object", "{\"client_id\":\"cnry\"}\n```", "more text after the object, at line 2, column 1"},
		{"prompt", "$ cat cnry.json\n{\"client_id\":\"cnry\"}", "text before the object at line 1, column 1"},
		{"prompt in brackets", "[cnry@host ~]$ cat cnry.json\n{\"client_id\":\"cnry\"}", "text before the object at line 1, column 1"},
		{"prompt after the object", "{\"client_id\":\"cnry\"}\ncnry@host:~$ ", "more text after the object, at line 2, column 1"},
		{"what a command says", "Getting key cnry as cnry...\n\n{\n  \"client_id\": \"cnry\"\n}", "text before the object at line 1, column 1"},
		{"name before the object", "Provided:\nVCAP_SERVICES: {\n  \"xsuaa\": []\n}", "text before the object at line 1, column 1"},
		{"list of objects", "[\n{\"client_id\":\"cnry\"}\n", "it begins as a list or a string at line 1, column 1"},
		{"members of objects without a brace", "\"uaa\": {\n\"client_id\": \"cnry\"}", "it begins as a list or a string at line 1, column 1"},
		{"plain secret", "cnry-Hunter2!", "it does not begin with { at line 1, column 1"},
		{"comment first", "// cnry\n{}", "a comment, which JSON does not have at line 1, column 1"},
		{"comment", "{\n\"client_id\":\"c\", // cnry\n\"scope\":\"d\"}", "a comment, which JSON does not have at line 2, column 18"},
		{"typographic quotes", "{“client_id”:“cnry”}", "a typographic quote: use double quotes at line 1, column 2"},
		{"typographic quotes around it", "“cnry”", "a typographic quote: use double quotes at line 1, column 1"},
		{"no-break space", "{\"client_id\":\u00a0\"cnry\"}", "a character that JSON does not allow outside of a string at line 1, column 14"},
		{"not complete", `{"client_id":"cnry","client_sec`, "it ends before it is complete, at line 1, column 32"},
		{"two objects", "{\"client_id\":\"cnry\"}\n{}", "more text after the object, at line 2, column 1"},
		{"PEM with line breaks", "{\"private_key\":\"-----BEGIN PRIVATE KEY-----\ncnry\"}", `an unescaped line break or control character in a string at line 1, column 44`},
		{"path of Windows", `{"file":"C:\cnry"}`, "an escape that JSON does not have at line 1, column 13"},
		{"short escape", `{"file":"\u12cnry"}`, "an escape that JSON does not have at line 1, column 15"},
		{"name without quotes", `{client_id:"cnry"}`, "a name in double quotes is missing at line 1, column 2"},
		{"value without quotes", `{"client_id":cnry}`, "a value is missing or is not in double quotes at line 1, column 14"},
		{"literal of Python", `{"a":True}`, "a value is missing or is not in double quotes at line 1, column 6"},
		{"no comma", "{\"client_id\":\"cnry\"\n\"scope\":\"a\"}", "a comma or a closing bracket is missing at line 2, column 1"},
		{"no colon", `{"client_id"="cnry"}`, "a colon is missing at line 1, column 13"},
		{"wrong bracket", `{"scope":["cnry"}`, "a comma or a closing bracket is missing at line 1, column 17"},
	}
}

func TestProblemSaysWhatAndWhere(t *testing.T) {
	for _, test := range mistakes() {
		t.Run(test.name, func(t *testing.T) {
			_, err := strictjson.Object([]byte(test.text), limits())
			if err == nil {
				t.Fatal("got no error, want one")
			}
			if got := strictjson.Problem(err, []byte(test.text)); got != "is not a JSON object: "+test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// FuzzProblem proves that Problem repeats nothing of a text: it says one of the sentences of
// mistakes, with other numbers.
func FuzzProblem(f *testing.F) {
	numbers := regexp.MustCompile(`line \d+, column \d+`)
	known := make(map[string]bool)
	for _, test := range mistakes() {
		f.Add(test.text)
		known[numbers.ReplaceAllString("is not a JSON object: "+test.want, "")] = true
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, err := strictjson.Object([]byte(text), strictjson.Limits{})
		if err == nil || strings.HasSuffix(err.Error(), "is given twice") {
			return
		}
		if got := strictjson.Problem(err, []byte(text)); !known[numbers.ReplaceAllString(got, "")] {
			t.Errorf("got %q, want a known sentence", got)
		}
	})
}
