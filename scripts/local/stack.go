package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"tokenvendor/scripts/local/apigateway"
	"tokenvendor/scripts/local/dynamodb"
	"tokenvendor/scripts/local/kms"
	"tokenvendor/scripts/local/runtimeapi"
	"tokenvendor/scripts/local/secretsmanager"
	"tokenvendor/scripts/local/sts"
	"tokenvendor/shared/oauth/oauthtest"
)

// Names in the ARNs and URLs of the stack.
const (
	region       = "eu-central-1"
	account      = "123456789012"
	apiID        = "local"
	stage        = "local"
	functionName = "token-vendor"
	httpAlias    = "http"
	prefix       = "token-vendor/clients/"
	cacheTable   = "token-vendor-cache"
	cacheKey     = "token-vendor-cache" // behind alias/
	policyName   = "token-vendor/policy"
)

// stack is all running servers. Close stops them.
type stack struct {
	dir         string // temporary: binaries, CA file, documents
	caFile      string
	secrets     *secretsmanager.Server
	secretsURL  string
	table       *dynamodb.Server
	tableURL    string
	keys        *kms.Server
	keysURL     string
	identity    *sts.Server
	identityURL string
	issuer      *oauthtest.Server
	function    *runtimeapi.Runtime
	jobs        jobs
	apiURL      string // ends in /token/
	policyMode  string
	principals  []apigateway.Principal
	clients     []client
	closers     []func() error // in the order of the starts
}

// start starts the servers in the order of their dependencies. policyFile may be empty.
func start(ctx context.Context, policyFile string, out, log io.Writer) (*stack, error) {
	s := &stack{principals: demoPrincipals()}
	proof := rand.Text()
	fmt.Fprintln(out, "building the functions …")
	for _, step := range []func() error{
		s.makeDir,
		func() error { return s.build(ctx) },
		s.startIssuer,
		s.startSecrets,
		s.startCache,
		s.startIdentity,
		s.seed,
		func() error { return s.seedPolicy(policyFile) },
		func() error { return s.startFunction(proof, log) },
		func() error { return s.startGateway(proof, log) },
		func() error { return s.startJobs(ctx, log) },
	} {
		if err := step(); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// Close stops all servers in the reverse order of their starts.
func (s *stack) Close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}

func (s *stack) atClose(f func() error) { s.closers = append(s.closers, f) }

func (s *stack) makeDir() error {
	dir, err := os.MkdirTemp("", "token-vendor-local-")
	if err != nil {
		return err
	}
	s.dir = dir
	s.atClose(func() error { return os.RemoveAll(dir) })
	return nil
}

func (s *stack) startIssuer() error {
	issuer, err := oauthtest.Start(oauthtest.Config{})
	if err != nil {
		return err
	}
	s.issuer = issuer
	s.atClose(func() error { issuer.Close(); return nil })
	// SSL_CERT_DIR names this directory, so it contains nothing but the CA file.
	s.caFile = filepath.Join(s.dir, "ca", "ca.pem")
	if err := os.Mkdir(filepath.Dir(s.caFile), 0o700); err != nil {
		return err
	}
	return os.WriteFile(s.caFile, issuer.CAPEM(), 0o600)
}

func (s *stack) startSecrets() (err error) {
	s.secrets = secretsmanager.New(secretsmanager.Config{Region: region, Account: account})
	s.secretsURL, err = s.serve(s.secrets)
	return err
}

// startCache serves the table that the functions' processes share, and the KMS key that
// protects its data keys.
func (s *stack) startCache() (err error) {
	s.table = dynamodb.New(dynamodb.Config{Region: region, Account: account})
	if err := s.table.AddTable(cacheTable, "name", "expires_at"); err != nil {
		return err
	}
	s.keys = kms.New(kms.Config{Region: region, Account: account})
	if _, err := s.keys.AddKey("SYMMETRIC_DEFAULT", cacheKey); err != nil {
		return err
	}
	if s.tableURL, err = s.serve(s.table); err != nil {
		return err
	}
	s.keysURL, err = s.serve(s.keys)
	return err
}

// startIdentity serves the STS that issues tokens for the function's role.
func (s *stack) startIdentity() (err error) {
	if s.identity, err = sts.New(sts.Config{Region: region, Account: account, Role: functionName}); err != nil {
		return err
	}
	s.identityURL, err = s.serve(s.identity)
	return err
}

// environment returns the environment of both functions.
func (s *stack) environment() []string {
	return []string{
		"AWS_ACCESS_KEY_ID=AKIALOCALFUNCTION", "AWS_SECRET_ACCESS_KEY=" + rand.Text(),
		"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + s.secretsURL,
		"AWS_ENDPOINT_URL_DYNAMODB=" + s.tableURL,
		"AWS_ENDPOINT_URL_KMS=" + s.keysURL,
		"AWS_ENDPOINT_URL_STS=" + s.identityURL,
		"WEB_IDENTITY_AUDIENCES=" + s.issuer.Issuer(),
		"CACHE_TABLE=" + cacheTable,
		"CACHE_KMS_KEY_ID=alias/" + cacheKey,
		"CLIENT_SECRET_PREFIX=" + prefix,
		"POLICY_MODE=" + s.policyMode,
		"POLICY_SECRET_ID=" + policyName,
		"ALLOW_PRIVATE_ENDPOINTS=true",
		"SSL_CERT_DIR=" + filepath.Dir(s.caFile),
	}
}

// startFunction runs the function token as AWS Lambda does. The seeded documents contain
// the CA of the authorization server. SSL_CERT_DIR is for documents without it; Go reads
// it on Linux only.
func (s *stack) startFunction(proof string, log io.Writer) error {
	function, err := runtimeapi.Start(runtimeapi.Config{
		Binary:         s.binary("token"),
		Env:            append(s.environment(), "ENVELOPE_PROOF="+proof, "HTTP_ALIAS="+httpAlias),
		FunctionName:   functionName,
		Region:         region,
		Account:        account,
		PrivateAliases: []string{httpAlias},
		MemoryMB:       256,
		Timeout:        25 * time.Second,
		Stdout:         log,
		Stderr:         log,
	})
	if err != nil {
		return err
	}
	s.function = function
	s.atClose(function.Close)
	return nil
}

func (s *stack) startGateway(proof string, log io.Writer) error {
	gateway, err := apigateway.New(apigateway.Config{
		Region: region, Account: account, APIID: apiID, Stage: stage,
		StageVariables: map[string]string{"envelopeProof": proof},
		Principals:     s.principals,
		Invoke:         s.invoke,
		AccessLog:      log,
	})
	if err != nil {
		return err
	}
	url, err := s.serve(gateway)
	s.apiURL = url + "/" + stage + "/token/"
	return err
}

// invoke invokes the function for API Gateway, by the alias that only API Gateway may use.
func (s *stack) invoke(ctx context.Context, event []byte) ([]byte, error) {
	result, err := s.function.Invoke(ctx, runtimeapi.Invocation{Payload: event, Qualifier: httpAlias})
	if err == nil && result.FunctionError != "" {
		err = errors.New("the function failed")
	}
	return result.Payload, err
}

// serve serves handler on a free port of 127.0.0.1 and returns its URL.
func (s *stack) serve(handler http.Handler) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	s.atClose(server.Close)
	return "http://" + listener.Addr().String(), nil
}

// binary returns the path of a function's binary.
func (s *stack) binary(name string) string {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(s.dir, name)
}
