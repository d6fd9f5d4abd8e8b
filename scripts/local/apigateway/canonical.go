package apigateway

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// canonicalRequest is what was signed. It is false when a query cannot be read or
// a signed header is not there.
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
		// Encoded once more on top of what was received, as for every service
		// but S3. Dots and double slashes stay: no route has them.
		escape(c.path, true),
		query,
		headers,
		strings.Join(signedHeaders, ";"),
		bodyHash,
	}, "\n"), true
}

// canonicalQuery decodes, encodes strictly and sorts by encoded name, then value.
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

// canonicalHeaders ends each header with a line feed, the last one too.
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

// headerValues are the values of a header as received, in their order. net/http
// keeps a few headers elsewhere.
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

// singleSpaces trims a value and makes each run of spaces in it one space.
func singleSpaces(value string) string {
	value = strings.Trim(value, " \t")
	for strings.Contains(value, "  ") {
		value = strings.ReplaceAll(value, "  ", " ")
	}
	return value
}

// escape is the URI encoding of Signature Version 4: everything but the unreserved
// characters of RFC 3986, and "/" in a path.
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
