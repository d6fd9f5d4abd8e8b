package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// process is a function's process with a Lambda Runtime API of its own. The server is
// written for measuring: it speaks HTTP by hand, and one goroutine reads the poll and
// sends the event, so that nothing else runs meanwhile.
type process struct {
	cmd      *exec.Cmd
	listener net.Listener
	conn     net.Conn
	in       *bufio.Reader
	answer   bytes.Buffer
	start    time.Duration // until the first poll
}

// spawn starts a process and waits for its first poll. Of two values of a variable in env
// the later one counts. Its output goes to out; nil: it is discarded.
func spawn(ctx context.Context, binary string, env []string, out io.Writer, args ...string) (*process, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	// #nosec G204 -- a binary that this program has built, or an interpreter.
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append([]string{
		"AWS_LAMBDA_RUNTIME_API=" + listener.Addr().String(), "AWS_LAMBDA_FUNCTION_NAME=bench", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256",
		"AWS_REGION=eu-central-1", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"),
	}, env...)
	cmd.Stdout, cmd.Stderr = out, out
	p := &process{cmd: cmd, listener: listener}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	_ = listener.(*net.TCPListener).SetDeadline(time.Now().Add(20 * time.Second))
	if p.conn, err = listener.Accept(); err != nil {
		return nil, errors.Join(errors.New("the process never asked for an event"), p.stop())
	}
	p.in = bufio.NewReaderSize(p.conn, 64<<10)
	if _, err := p.read(); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	p.start = time.Since(begin)
	return p, nil
}

// read reads one request of the process and leaves its body in p.answer.
func (p *process) read() (path string, err error) {
	_ = p.conn.SetDeadline(time.Now().Add(30 * time.Second))
	r, err := http.ReadRequest(p.in)
	if err != nil {
		return "", err
	}
	p.answer.Reset()
	_, err = io.Copy(&p.answer, r.Body)
	return r.URL.Path, err
}

// call sends an HTTP event to the process, which must answer with a token, and returns
// how long the answer took.
func (p *process) call(event []byte) (time.Duration, error) {
	took, failed, err := p.send(event, "id")
	if err == nil && (failed || !bytes.HasPrefix(p.answer.Bytes(), []byte(`{"statusCode":200`))) {
		err = errors.New("the function did not answer with a token")
	}
	return took, err
}

// send sends an event to the process. It returns how long the answer took and whether it
// was a function error, and leaves the answer in p.answer. The time does not include the
// poll that follows.
func (p *process) send(event []byte, id string) (took time.Duration, failed bool, err error) {
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: %s\r\n"+
		"Lambda-Runtime-Deadline-Ms: %d\r\nLambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-central-1:123456789012:function:bench\r\nContent-Length: %d\r\n\r\n",
		id, time.Now().Add(25*time.Second).UnixMilli(), len(event))
	// The deadline of the poll may be over: the process was idle since.
	_ = p.conn.SetDeadline(time.Now().Add(30 * time.Second))
	begin := time.Now()
	if _, err := p.conn.Write(append([]byte(head), event...)); err != nil {
		return 0, false, err
	}
	path, err := p.read()
	took = time.Since(begin)
	if err != nil {
		return took, false, err
	}
	answer := bytes.Clone(p.answer.Bytes())
	if _, err := io.WriteString(p.conn, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"); err != nil {
		return took, false, err
	}
	_, err = p.read()
	p.answer.Reset()
	p.answer.Write(answer)
	return took, strings.HasSuffix(path, "/error"), err
}

// handle sends an event and returns the answer.
func (p *process) handle(event []byte, id string) (answer []byte, failed bool, err error) {
	_, failed, err = p.send(event, id)
	return bytes.Clone(p.answer.Bytes()), failed, err
}

// memory returns a field of a process's status file that is given in kB, in bytes; 0 where
// the system has no such file. VmRSS is the memory in use, VmHWM its peak.
func memory(pid int, field string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, value, _ := strings.Cut(string(text), field+":")
	kilobytes, _, _ := strings.Cut(strings.TrimSpace(value), " ")
	n, _ := strconv.ParseInt(kilobytes, 10, 64)
	return n << 10
}

func (p *process) stop() error {
	err := p.cmd.Process.Kill()
	_ = p.cmd.Wait() // it reports "killed"
	if p.conn != nil {
		_ = p.conn.Close()
	}
	return errors.Join(err, p.listener.Close())
}
