package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// TestBinarySendsAnAnswerAtOnce: aws-lambda-go alone sends three pieces; see [app.TuneRuntimeAPI].
func TestBinarySendsAnAnswerAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the function and runs it")
	}
	binary, err := buildBinary()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	secrets := httptest.NewServer(newEnv(t))
	defer secrets.Close()
	function := exec.CommandContext(t.Context(), binary)
	function.Env = []string{
		"AWS_LAMBDA_RUNTIME_API=" + listener.Addr().String(), "AWS_LAMBDA_FUNCTION_NAME=f", "AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=key",
		"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + secrets.URL, "ENVELOPE_PROOF=" + testProof, "HTTP_ALIAS=" + testAlias,
	}
	if err := function.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = function.Process.Kill()
		_ = function.Wait()
	}()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	next, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		t.Fatal(err)
	}
	if next.Header.Get("Accept-Encoding") != "" {
		t.Error("the function asks for a compressed event")
	}
	const event = `{"client":"Not A Name"}`
	_, err = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nLambda-Runtime-Aws-Request-Id: id\r\nLambda-Runtime-Deadline-Ms: %s\r\n\r\n%s",
		len(event), strconv.FormatInt(time.Now().Add(time.Minute).UnixMilli(), 10), event)
	if err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1<<16)
	n, err := conn.Read(answer)
	if err != nil || !bytes.HasPrefix(answer[:n], []byte("POST ")) || !bytes.HasSuffix(answer[:n], []byte("0\r\n\r\n")) {
		t.Errorf("got %d bytes at first, %v; want the whole answer", n, err)
	}
}
