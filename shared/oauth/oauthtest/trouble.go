package oauthtest

import (
	"net"
	"net/http"
	"time"
)

// Trouble is a fault between a client and any server, when the client connects or when a
// request is answered. A [Proxy] injects it. The zero Trouble is none.
type Trouble struct {
	// Name identifies the trouble in reports.
	Name string
	// Passed: the server receives the request and may process it although the client does
	// not receive the answer.
	Passed bool

	connect connectFault
	fault   Fault
}

// connectFault is how a connection fails; zero: it does not.
type connectFault int

const (
	connected          connectFault = iota
	refused                         // the port is closed
	resetConnection                 // the connection is reset
	silent                          // no byte is ever sent
	plaintext                       // an HTTP answer without TLS
	unknownAuthority                // a certificate of an untrusted authority
	expiredCertificate              // a certificate that expired a minute ago
	wrongHost                       // a valid certificate of another host
	connectFaults                   // number of values
)

// Troubles returns all troubles. Each has a different name.
func Troubles() []Trouble {
	const megabyte = 1 << 20
	return []Trouble{
		{Name: "refused", connect: refused},
		{Name: "reset when connecting", connect: resetConnection},
		{Name: "silent when connecting", connect: silent},
		{Name: "no TLS", connect: plaintext},
		{Name: "certificate of a stranger", connect: unknownAuthority},
		{Name: "expired certificate", connect: expiredCertificate},
		{Name: "certificate of another host", connect: wrongHost},
		{Name: "late by 0.3 s", Passed: true, fault: Late(300 * time.Millisecond)},
		{Name: "late by 7 s", Passed: true, fault: Late(7 * time.Second)},
		{Name: "no answer", fault: Hang},
		{Name: "reset", fault: Reset},
		{Name: "answer lost", Passed: true, fault: Lost},
		{Name: "half a body", Passed: true, fault: Truncated},
		{Name: "body late by 0.4 s", Passed: true, fault: LateBody(400 * time.Millisecond)},
		{Name: "body late by 8 s", Passed: true, fault: LateBody(8 * time.Second)},
		{Name: "body byte by byte", Passed: true, fault: Drip(time.Millisecond)},
		{Name: "redirect 302", fault: redirectAway(http.StatusFound)},
		{Name: "redirect 307", fault: redirectAway(http.StatusTemporaryRedirect)},
		{Name: "100 MB", fault: Huge(http.StatusOK, 100*megabyte)},
		{Name: "error of 100 MB", fault: Huge(http.StatusInternalServerError, 100*megabyte)},
		{Name: "gzip bomb", fault: Bomb(100 * megabyte)},
		{Name: "header of 2 MB", fault: HugeHeader(2 * megabyte)},
		{Name: "429", fault: HTML429("")},
		{Name: "429 with Retry-After", fault: HTML429("1")},
		{Name: "503", fault: Answer(http.StatusServiceUnavailable, "text/html", "<html>")},
		{Name: "a page", fault: Answer(http.StatusOK, "text/html", "<html>")},
		{Name: "half of JSON", fault: Answer(http.StatusOK, "application/json", "{")},
	}
}

// strayPath is the target of redirectAway.
const strayPath = "/strayed"

// redirectAway redirects to another host name of the proxy, which counts the requests
// that follow.
func redirectAway(status int) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
		_, port, _ := net.SplitHostPort(r.Host)
		Redirect(status, "https://localhost:"+port+strayPath)(w, r, next, done)
	}
}
