package apigateway

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// canonicalRequest returns the text that was signed; false: the query is malformed or a
// signed header is missing.
func canonicalRequest(c *call, signedHeaders []string, bodyHash string) (string, bool) {
	query, ok := canonicalQuery(c.query)
	if !ok {
		return "", false
	}
	headers, ok := canonicalHeaders(c.r, signedHeaders)
	if !ok {
		return "", false
	}
	return strings.Join([]string{
		c.r.Method,
		// The received path is encoded a second time, as for every service but S3. Dots
		// and double slashes are not removed: no route has them.
		escape(c.path, true),
		query,
		headers,
		strings.Join(signedHeaders, ";"),
		bodyHash,
	}, "\n"), true
}

// canonicalQuery decodes the query, encodes it strictly and sorts it by encoded name and
// value.
func canonicalQuery(raw string) (string, bool) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return "", false
	}
	type pair struct{ name, value string }
	var pairs []pair
	for name, all := range values {
		for _, value := range all {
			pairs = append(pairs, pair{escape(name, false), escape(value, false)})
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		if order := strings.Compare(a.name, b.name); order != 0 {
			return order
		}
		return strings.Compare(a.value, b.value)
	})
	parts := make([]string, len(pairs))
	for i, p := range pairs {
		parts[i] = p.name + "=" + p.value
	}
	return strings.Join(parts, "&"), true
}

// canonicalHeaders returns the signed headers, each with a line feed at its end.
func canonicalHeaders(r *http.Request, names []string) (string, bool) {
	var b strings.Builder
	for _, name := range names {
		values := headerValues(r, name)
		if len(values) == 0 {
			return "", false
		}
		b.WriteString(name + ":")
		for i, value := range values {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(singleSpaces(value))
		}
		b.WriteByte('\n')
	}
	return b.String(), true
}

// headerValues returns the values of a header in the received order. net/http stores a few
// headers outside of r.Header.
func headerValues(r *http.Request, name string) []string {
	switch name {
	case "host":
		return []string{r.Host}
	case "content-length":
		if r.ContentLength >= 0 {
			return []string{strconv.FormatInt(r.ContentLength, 10)}
		}
		return nil
	case "transfer-encoding":
		return r.TransferEncoding
	}
	return r.Header.Values(name)
}

// singleSpaces trims a value and replaces each run of spaces by one space.
func singleSpaces(value string) string {
	value = strings.Trim(value, " \t")
	for strings.Contains(value, "  ") {
		value = strings.ReplaceAll(value, "  ", " ")
	}
	return value
}

// escape is the URI encoding of Signature Version 4: it encodes all but the unreserved
// characters of RFC 3986, and "/" unless it is in a path.
func escape(s string, path bool) string {
	const hexadecimal = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9',
			c == '-', c == '.', c == '_', c == '~', path && c == '/':
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hexadecimal[c>>4])
			b.WriteByte(hexadecimal[c&15])
		}
	}
	return b.String()
}
