package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"tokenvendor/shared/strictjson"
)

// ErrDiscovery says that the authorization server's metadata could not be fetched. A later
// call may succeed.
var ErrDiscovery = errors.New("the issuer's metadata could not be read")

// Metadata is the part of the metadata of RFC 8414 section 2 that this package uses.
type Metadata struct {
	Issuer        string
	TokenEndpoint string
	// MutualTLSTokenEndpoint is the alias for clients that authenticate by certificate
	// (RFC 8705 section 5); empty: the same as TokenEndpoint.
	MutualTLSTokenEndpoint string
}

// Discover reads the metadata of issuer at the path of OpenID Connect Discovery or, if there
// is none, at that of RFC 8414 section 3. The metadata must contain the same issuer (RFC 8414
// section 3.3) and a token endpoint on the issuer's host, so that an answer cannot redirect a
// secret. An error that wraps [ErrDiscovery] is temporary.
func Discover(ctx context.Context, client *http.Client, issuer string) (Metadata, error) {
	u, err := ParseEndpoint(issuer)
	if err != nil {
		return Metadata{}, fmt.Errorf("issuer is %w", err)
	}
	path := strings.TrimSuffix(u.Path, "/")
	members, err := getMetadata(ctx, client, u, path+"/.well-known/openid-configuration")
	if failure, ok := errors.AsType[*noMetadata](err); ok {
		other, otherErr := getMetadata(ctx, client, u, "/.well-known/oauth-authorization-server"+path)
		second, none := errors.AsType[*noMetadata](otherErr)
		// If neither has any, the first answer says more, unless it is 404.
		if !none || failure.status == http.StatusNotFound || second.status == http.StatusTooManyRequests {
			members, err = other, otherErr
		}
	}
	if err != nil {
		return Metadata{}, err
	}
	return readMetadata(members, u, issuer)
}

// noMetadata is the error of a place that has no metadata, so that the other one is tried.
// Gateways answer 401 or 403 for a path that they do not know (those of Retool and Superhuman),
// portals answer a redirect to their logon page, or that page.
type noMetadata struct {
	status  int // 200: a page
	problem string
}

func (e *noMetadata) Error() string { return e.problem }

// Is makes a 429 temporary.
func (e *noMetadata) Is(target error) bool {
	return target == ErrDiscovery && e.status == http.StatusTooManyRequests
}

// getMetadata reads the metadata at one path.
func getMetadata(ctx context.Context, client *http.Client, base *url.URL, path string) (map[string]json.RawMessage, error) {
	body, status, err := get(ctx, client, base, path)
	switch {
	case err != nil:
		return nil, err
	case status >= 500:
		return nil, fmt.Errorf("%w: status %d", ErrDiscovery, status)
	case status == http.StatusTooManyRequests:
		return nil, &noMetadata{status, fmt.Sprintf("%v: status %d", ErrDiscovery, status)}
	case status != http.StatusOK:
		return nil, &noMetadata{status, fmt.Sprintf("issuer has no metadata: status %d", status)}
	}
	members, err := readAnswer(body, "issuer", "token_endpoint", "mtls_endpoint_aliases")
	switch {
	case errors.Is(err, strictjson.ErrSyntax):
		return nil, &noMetadata{status, "issuer: its metadata " + problemOf(err, body)}
	case err != nil:
		return nil, errors.New("issuer: its metadata " + problemOf(err, body))
	}
	return members, nil
}

func get(ctx context.Context, client *http.Client, base *url.URL, path string) ([]byte, int, error) {
	u := url.URL{Scheme: base.Scheme, Host: base.Host, Path: path}
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	v, ok := client.Transport.(*versions)
	ctx, trace := traceAttempt(ctx, ok && v.certificate)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, 0, errors.New("issuer is not a URL")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", defaultUserAgent)
	resp, err := client.Do(req)
	if err != nil {
		failure := trace.transportError(err)
		if failure.Temporary() {
			return nil, 0, fmt.Errorf("%w: %v", ErrDiscovery, failure)
		}
		return nil, 0, fmt.Errorf("issuer: %v", failure)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode < http.StatusOK {
		return nil, 0, fmt.Errorf("issuer: %v", protocolSwitched())
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, 0, ErrDiscovery
	}
	return body, resp.StatusCode, nil
}

func readMetadata(members map[string]json.RawMessage, base *url.URL, issuer string) (Metadata, error) {
	m := Metadata{Issuer: issuer}
	if named, _ := strictjson.String(members["issuer"]); named != issuer {
		return Metadata{}, errors.New("issuer: its metadata names another issuer" + lastSlash(named, issuer))
	}
	m.TokenEndpoint, _ = strictjson.String(members["token_endpoint"])
	if !sameHost(m.TokenEndpoint, base) {
		return Metadata{}, errors.New("issuer: its metadata has no token_endpoint on the issuer's host; give token_endpoint in the document")
	}
	var aliases map[string]json.RawMessage
	if json.Unmarshal(members["mtls_endpoint_aliases"], &aliases) == nil {
		m.MutualTLSTokenEndpoint, _ = strictjson.String(aliases["token_endpoint"])
	}
	// The alias may be on another host, as in RFC 8705's own example, because a server
	// cannot reuse the client certificate that it was shown.
	if _, err := ParseEndpoint(m.MutualTLSTokenEndpoint); m.MutualTLSTokenEndpoint != "" && err != nil {
		return Metadata{}, fmt.Errorf("issuer: its mtls_endpoint_aliases has a token_endpoint that is %w", err)
	}
	return m, nil
}

// lastSlash says that an issuer differs from the one that the metadata names by the slash at its
// end; empty: it differs by more. RFC 8414 section 3.3 wants the same characters. Auth0 names
// itself with the slash, and most other servers without.
func lastSlash(named, issuer string) string {
	switch {
	case named == issuer+"/":
		return ", which differs by the slash at its end: add it"
	case named+"/" == issuer:
		return ", which differs by the slash at its end: remove it"
	}
	return ""
}

func sameHost(endpoint string, base *url.URL) bool {
	u, err := ParseEndpoint(endpoint)
	return err == nil && strings.EqualFold(u.Hostname(), base.Hostname())
}
