package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"tokenvendor/shared/oauth/oauthtest"
)

// stack is a local stack with a policy, which this program started.
type stack struct {
	description
	command *exec.Cmd
	ended   chan struct{} // closed when command has ended
	dir     string
	servers []*oauthtest.Server
}

// description is what this program reads of the stack's own file.
type description struct {
	TokenURL     string `json:"token_url"`
	AWSURL       string `json:"aws_url"`
	LambdaURL    string `json:"lambda_url"`
	BatchURL     string `json:"batch_lambda_url"`
	SchedulerURL string `json:"scheduler_url"`
	OrdersURL    string `json:"orders_queue_url"`
	FaultsURL    string `json:"faults_url"`
	Log          string `json:"log"`
	Function     string `json:"function_name"`
	Batch        string `json:"batch_function_name"`
	EventBus     string `json:"event_bus"`
	Table        string `json:"cache_table"`
	Prefix       string `json:"client_secret_prefix"`
	PolicySecret string `json:"policy_secret"`
	Principals   []struct {
		AccessKeyID     string `json:"access_key_id"`
		SecretAccessKey string `json:"secret_access_key"`
		SessionToken    string `json:"session_token"`
	} `json:"principals"`
}

// goodPolicy names the callers of the local stack and of the functions' aliases.
const goodPolicy = `{"rules": [{"name": "all", "callers": ["aws:123456789012:user/developer", "direct:*", "source:queue/*", "source:bus", "source:schedule", "deliver:*"], "clients": ["*"]},
 {"name": "job", "callers": ["aws:123456789012:role/reporting-job"], "clients": ["demo"], "scopes": ["read"]}]}`

// start compiles and starts the stack. It takes half a minute where nothing is compiled.
func start(ctx context.Context) (*stack, error) {
	dir, err := os.MkdirTemp("", "alarmdrill")
	if err != nil {
		return nil, err
	}
	s := &stack{dir: dir}
	policy, file := filepath.Join(dir, "policy.json"), filepath.Join(dir, "stack.json")
	if err := os.WriteFile(policy, []byte(goodPolicy), 0o600); err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.command = exec.CommandContext(ctx, "go", "run", "./scripts/local", "-json", file, "-policy", policy) // #nosec G204 -- fixed
	s.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.command.Stderr = os.Stderr
	if err := s.command.Start(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.ended = make(chan struct{})
	go func() { _ = s.command.Wait(); close(s.ended) }()
	for range 1800 {
		select {
		case <-s.ended:
			return nil, errors.Join(errors.New("the local stack ended"), s.close())
		default:
		}
		text, err := os.ReadFile(file) // #nosec G304 -- our own
		if err == nil {
			return s, json.Unmarshal(text, &s.description)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, errors.Join(errors.New("the local stack did not start"), s.close())
}

func (s *stack) close() error {
	for _, server := range s.servers {
		server.Close()
	}
	if s.command != nil && s.command.Process != nil {
		_ = syscall.Kill(-s.command.Process.Pid, syscall.SIGTERM)
		<-s.ended
	}
	return os.RemoveAll(s.dir)
}

// log returns what the log has after its first bytes.
func (s *stack) log(after int) ([]byte, error) {
	text, err := os.ReadFile(s.Log)
	if err != nil || len(text) < after {
		return nil, err
	}
	return text[after:], nil
}

// fault begins or ends a fault of the stack.
func (s *stack) fault(name string, on bool) error {
	method := http.MethodDelete
	if on {
		method = http.MethodPut
	}
	_, status, err := s.send(method, s.FaultsURL+"/"+name, nil, "")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("the fault %s: status %d", name, status)
	}
	return err
}

// restart replaces the environments of the functions.
func (s *stack) restart() error {
	if err := s.fault("restart", true); err != nil {
		return err
	}
	time.Sleep(300 * time.Millisecond)
	return nil
}

// send sends a request that looks signed: the local services do not verify signatures.
func (s *stack) send(method, url string, header http.Header, body string) (answer []byte, status int, err error) {
	request, err := http.NewRequest(method, url, strings.NewReader(body)) //nolint:noctx // the client has a timeout
	if err != nil {
		return nil, 0, err
	}
	if header != nil {
		request.Header = header
	}
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIADRILL/20260101/eu-central-1/x/aws4_request, SignedHeaders=host, Signature=00")
	response, err := (&http.Client{Timeout: 40 * time.Second}).Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err = io.ReadAll(response.Body)
	return answer, response.StatusCode, err
}

// aws calls an operation of a service of the stack whose protocol is JSON.
func (s *stack) aws(target string, in any) (map[string]json.RawMessage, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	version := "1.1"
	if strings.HasPrefix(target, "DynamoDB") || strings.HasPrefix(target, "AmazonSQS") {
		version = "1.0"
	}
	answer, status, err := s.send(http.MethodPost, s.AWSURL+"/", http.Header{"X-Amz-Target": {target}, "Content-Type": {"application/x-amz-json-" + version}}, string(body))
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d: %.200s", target, status, answer)
	}
	var out map[string]json.RawMessage
	return out, json.Unmarshal(answer, &out)
}

// write creates a secret, or writes its next version.
func (s *stack) write(name, text string) error {
	token := rand.Text() + rand.Text()
	if _, err := s.aws("secretsmanager.CreateSecret", map[string]string{"Name": name, "SecretString": text, "ClientRequestToken": token}); err == nil {
		return nil
	}
	_, err := s.aws("secretsmanager.PutSecretValue", map[string]string{"SecretId": name, "SecretString": text, "ClientRequestToken": token})
	return err
}

// server starts an authorization server.
func (s *stack) server() (*oauthtest.Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server, err := oauthtest.Start(oauthtest.Config{Listener: listener})
	if err != nil {
		return nil, err
	}
	s.servers = append(s.servers, server)
	return server, nil
}

// client registers a client at a server of its own, and writes its document, changed by members.
func (s *stack) client(name string, members map[string]any) (*oauthtest.Server, error) {
	server, err := s.server()
	if err != nil {
		return nil, err
	}
	server.Register(oauthtest.Client{ID: name, Methods: []string{"client_secret_post"}, Secrets: []string{"right"}})
	return server, s.document(name, server, members)
}

// document writes a version of a client's document.
func (s *stack) document(name string, server *oauthtest.Server, members map[string]any) error {
	document := map[string]any{"token_endpoint": server.TokenEndpoint(), "client_id": name, "client_secret": "right", "ca_certificates": string(server.CAPEM())}
	for member, value := range members {
		document[member] = value
	}
	text, err := json.Marshal(document)
	if err != nil {
		return err
	}
	return s.write(s.Prefix+name, string(text))
}

// ask asks for a token as the principal of a number, and returns the status and the answer.
func (s *stack) ask(principal int, client, form string) (status int, answer []byte, err error) {
	request, err := http.NewRequest(http.MethodPost, strings.TrimSuffix(s.TokenURL, "/")+"/"+client, strings.NewReader(form)) //nolint:noctx // the client has a timeout
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	p := s.Principals[principal]
	credentials := aws.Credentials{AccessKeyID: p.AccessKeyID, SecretAccessKey: p.SecretAccessKey, SessionToken: p.SessionToken}
	if err := v4.NewSigner().SignHTTP(context.Background(), credentials, request, hash(form), "execute-api", "eu-central-1", time.Now()); err != nil {
		return 0, nil, err
	}
	response, err := (&http.Client{Timeout: 40 * time.Second}).Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, bytes.TrimSpace(answer), err
}

// vend asks for a token as the developer, who must get one.
func (s *stack) vend(client, form string) error { return s.want(http.StatusOK, client, form) }

// want asks for a token as the developer, who must get that status.
func (s *stack) want(status int, client, form string) error {
	got, answer, err := s.ask(0, client, form)
	if err == nil && got != status {
		err = fmt.Errorf("%s: got status %d, want %d: %.300s", client, got, status, answer)
	}
	return err
}

// invoke invokes a function through an alias.
func (s *stack) invoke(url, function, alias, payload string) ([]byte, error) {
	answer, _, err := s.send(http.MethodPost, url+"/2015-03-31/functions/"+function+"/invocations?Qualifier="+alias, nil, payload)
	return answer, err
}

// schedule lets Scheduler call the batch function once, or a few times, with an input.
func (s *stack) schedule(input string) error {
	name := "drill-" + rand.Text()
	definition, err := json.Marshal(map[string]any{
		"ScheduleExpression": "rate(1 seconds)", "FlexibleTimeWindow": map[string]string{"Mode": "OFF"},
		"Target": map[string]string{"Arn": "arn:aws:lambda:eu-central-1:123456789012:function:" + s.Batch + ":schedule", "RoleArn": "arn:aws:iam::123456789012:role/scheduler", "Input": input},
	})
	if err != nil {
		return err
	}
	if answer, status, err := s.send(http.MethodPost, s.SchedulerURL+"/schedules/"+name, nil, string(definition)); err != nil || status != http.StatusOK {
		return errors.Join(fmt.Errorf("CreateSchedule: status %d: %.200s", status, answer), err)
	}
	time.Sleep(1700 * time.Millisecond)
	_, _, err = s.send(http.MethodDelete, s.SchedulerURL+"/schedules/"+name, nil, "")
	return err
}
