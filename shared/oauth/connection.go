package oauth

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"weak"
)

const (
	// connectionSize is the size of a [Connection] that is idle, without authorities.
	connectionSize = 1500
	// maxSharedBytes bounds the memory for shared connections, because documents name the
	// servers and their authorities. maxSharedSize is that of one: a document with more
	// authorities pays for them itself.
	maxSharedBytes = 8 << 20
	maxSharedSize  = maxSharedBytes / 64
)

// Trust is what a client expects of a server in the TLS handshake, and what it shows itself.
type Trust struct {
	// Roots verify the server's certificate; none: the system's.
	Roots []*x509.Certificate
	// RootsSize is the size of Roots in memory, in bytes.
	RootsSize int
	// Certificate is offered with its whole chain; nil: none.
	Certificate *tls.Certificate
	// TLS loosens TLS for an old server.
	TLS TLSOptions
}

// Connections opens connections to authorization servers within one policy of addresses. Clients
// without a certificate share those to a server that they trust in the same way. It is safe for
// concurrent use.
type Connections struct {
	dial dialFunc
	pool func([]*x509.Certificate) *x509.CertPool

	mu sync.Mutex
	// shared are those that a client uses; guarded by mu.
	shared map[sharedKey]weak.Pointer[Connection]
	used   int // sum of the sizes of shared; guarded by mu
}

// sharedKey has everything that two clients without a certificate must have in common to share
// connections. The server is part of it, so that what one server does affects no client of
// another one.
type sharedKey struct {
	server string
	roots  [sha256.Size]byte
	tls    TLSOptions
}

// NewConnections returns a Connections that has none. pool returns the pool of a [Trust]'s Roots.
func NewConnections(addresses AddressPolicy, pool func([]*x509.Certificate) *x509.CertPool) *Connections {
	return &Connections{dial: addresses.connect(), pool: pool, shared: make(map[sharedKey]weak.Pointer[Connection])}
}

// To returns the connections to the server of an https URL. A certificate has its own, because
// both a connection and a TLS session carry its identity.
func (c *Connections) To(endpoint string, trust Trust) *Connection {
	size := connectionSize + trust.RootsSize
	if trust.Certificate != nil || size > maxSharedSize {
		return c.open(trust, size)
	}
	key := sharedKey{server: serverOf(endpoint), roots: digestOf(trust.Roots), tls: trust.TLS}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.shared[key].Value(); known != nil {
		return known
	}
	made := c.open(trust, size)
	if c.used+size > maxSharedBytes {
		return made
	}
	made.shared = true
	c.shared[key], c.used = weak.Make(made), c.used+size
	// No client holds made any more when it is collected. Its idle connections end by themselves.
	runtime.AddCleanup(made, func(key sharedKey) { c.release(key, size) }, key)
	return made
}

// release forgets connections that no client uses any more.
func (c *Connections) release(key sharedKey, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used -= size
	if c.shared[key].Value() == nil { // or else they were opened again
		delete(c.shared, key)
	}
}

func (c *Connections) open(trust Trust, size int) *Connection {
	var pool *x509.CertPool
	if len(trust.Roots) > 0 {
		pool = c.pool(trust.Roots)
	}
	opened := newConnection(c.dial, newTLSConfig(pool, trust.Certificate, trust.TLS))
	opened.roots, opened.size = trust.Roots, size
	return opened
}

// serverOf returns the host of a URL with its port, in lower case.
func serverOf(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return endpoint
	}
	return strings.ToLower(net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443")))
}

func digestOf(roots []*x509.Certificate) (digest [sha256.Size]byte) {
	h := sha256.New()
	for _, root := range roots {
		sum := sha256.Sum256(root.Raw)
		h.Write(sum[:])
	}
	h.Sum(digest[:0])
	return digest
}

// Connection is a pool of connections to one authorization server. It is safe for concurrent use.
type Connection struct {
	versions *versions
	client   *http.Client // by versions
	roots    []*x509.Certificate
	size     int
	shared   bool
	cleared  atomic.Int64 // when closeDead closed the idle connections, in Unix nanoseconds
}

func newConnection(dial dialFunc, config *tls.Config) *Connection {
	v := newVersions(dial, config)
	return &Connection{versions: v, client: newHTTPClient(v), size: connectionSize}
}

// Roots returns the authorities that verify the server; none: the system's. They are those of
// the first client that shares the connections, so that the others need not keep their own.
func (c *Connection) Roots() []*x509.Certificate { return c.roots }

// Size returns the size in memory that a client adds which uses c, in bytes: 0 if c is shared.
func (c *Connection) Size() int {
	if c.shared {
		return 0
	}
	return c.size
}

// HTTP returns the HTTP client for a request that begins now: TLS 1.2 or newer, HTTP/1.1, no
// redirects, no proxy but that of the policy, one renegotiation. With a server that refuses
// HTTP/1.1 it speaks HTTP/2.
func (c *Connection) HTTP(now time.Time) *http.Client {
	c.closeDead(now)
	return c.client
}

// roundTrip sends a request that begins now, as the client of HTTP does, which would prepare it
// for a redirect.
func (c *Connection) roundTrip(now time.Time, req *http.Request) (*http.Response, error) {
	c.closeDead(now)
	return c.versions.RoundTrip(req)
}

// closeDead closes the idle connections each idleTimeout on the wall clock. The timer of net/http
// stops while a Lambda function is frozen, and after it thaws the connections may be dead.
func (c *Connection) closeDead(now time.Time) {
	if last := c.cleared.Load(); now.Sub(time.Unix(0, last)).Abs() >= idleTimeout && c.cleared.CompareAndSwap(last, now.UnixNano()) {
		c.versions.CloseIdleConnections()
	}
}

// Close closes the idle connections, unless other clients may use them. Requests in progress are
// not affected.
func (c *Connection) Close() {
	if !c.shared {
		c.versions.CloseIdleConnections()
	}
}
