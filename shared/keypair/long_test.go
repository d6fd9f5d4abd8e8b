package keypair

import (
	"context"
	"encoding/asn1"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"tokenvendor/shared/keypair/keypairtest"
	"tokenvendor/shared/nowait"
)

// TestLongDecryptionLetsOthersGoOn proves that with one processor a timer is served while a password is
// tried, though the reading before it did not wake up the scheduler's monitor.
func TestLongDecryptionLetsOthersGoOn(t *testing.T) {
	if address := os.Getenv("ANSWER_LATE"); address != "" {
		answerLate(t, address)
		return
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const iterations = maxIterations / 2
	file := must(pkcs12.Modern2026.WithIterations(iterations).Encode(testMaterial().EC256, keypairtest.SelfSigned(testMaterial().EC256), nil, "test-only"))
	key := must(asn1.Marshal(encryptedKey{encryption(iterations, make([]byte, 16)), make([]byte, 16)}))
	for name, decrypt := range map[string]func(){
		"PKCS#12": func() { _, _, _ = openPKCS12(file, Password{"password", "test-only"}) },
		"PKCS#8":  func() { _, _ = decryptPKCS8(key, "test-only") },
	} {
		readLate(t)
		served := make(chan struct{})
		time.AfterFunc(time.Millisecond, func() { close(served) })
		decrypt()
		select {
		case <-served:
		default:
			t.Errorf("%s: a timer waited for the decryption", name)
		}
	}
}

// readLate reads from another process, when this one was idle.
func readLate(t *testing.T) {
	t.Helper()
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	t.Cleanup(func() { _ = listener.Close() })
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLongDecryptionLetsOthersGoOn$")
	child.Env = append(os.Environ(), "ANSWER_LATE="+listener.Addr().String())
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Wait() })
	conn, err := nowait.Dial(func(context.Context, string, string) (net.Conn, error) { return listener.Accept() })(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // later, as it would wake up the monitor
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

func answerLate(t *testing.T, address string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond) // the monitor of the process that reads falls asleep
	_, _ = conn.Write([]byte("x"))
	_, _ = conn.Read(make([]byte, 1)) // until that process closes the connection
}
