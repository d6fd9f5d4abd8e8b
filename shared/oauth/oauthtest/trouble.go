package oauthtest

import (
	"net"
	"net/http"
	"time"
)

// Trouble is what goes wrong between a client and any server: when they connect, or
// when a request is answered. A [Proxy] makes it. The zero Trouble is none.
type Trouble struct {
	// Name says what it is.
	Name string
	// Slow: an answer comes all the same, unless the client gives up before.
	Slow bool
	// Passed: the server gets the request, and may have done what it asks for although
	// the client learns nothing of it.
	Passed bool

	greeting greeting
	fault    Fault
}

// greeting is how a connection begins.
type greeting int

const (
	welcome   greeting = iota
	refusal            // nobody listens
	hangUp             // the connection is reset
	silence            // nothing ever comes
	noTLS              // an answer in the clear
	stranger           // a certificate of an authority that nobody trusts
	expired            // a certificate that was good until a minute ago
	misnamed           // a good certificate of another host
	greetings          // how many there are
)

// Troubles returns all that there is, each under a name of its own.
func Troubles() []Trouble {
	const megabyte = 1 << 20
	return []Trouble{
		{Name: "refused", greeting: refusal},
		{Name: "reset when connecting", greeting: hangUp},
		{Name: "silent when connecting", greeting: silence},
		{Name: "no TLS", greeting: noTLS},
		{Name: "certificate of a stranger", greeting: stranger},
		{Name: "expired certificate", greeting: expired},
		{Name: "certificate of another host", greeting: misnamed},
		{Name: "late by 0.3 s", Slow: true, Passed: true, fault: Late(300 * time.Millisecond)},
		{Name: "late by 7 s", Slow: true, Passed: true, fault: Late(7 * time.Second)},
		{Name: "no answer", fault: Hang},
		{Name: "reset", fault: Reset},
		{Name: "answer lost", Passed: true, fault: Lost},
		{Name: "half a body", Passed: true, fault: Truncated},
		{Name: "body late by 0.4 s", Slow: true, Passed: true, fault: LateBody(400 * time.Millisecond)},
		{Name: "body late by 8 s", Slow: true, Passed: true, fault: LateBody(8 * time.Second)},
		{Name: "body byte by byte", Slow: true, Passed: true, fault: Drip(time.Millisecond)},
		{Name: "redirect 302", fault: away(http.StatusFound)},
		{Name: "redirect 307", fault: away(http.StatusTemporaryRedirect)},
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

// strayPath is where away leads.
const strayPath = "/strayed"

// away redirects to another name of the proxy, which counts who comes there.
func away(status int) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
		_, port, _ := net.SplitHostPort(r.Host)
		Redirect(status, "https://localhost:"+port+strayPath)(w, r, next, done)
	}
}
