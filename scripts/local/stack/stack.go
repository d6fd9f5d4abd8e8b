package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"tokenvendor/scripts/local/apigateway"
	"tokenvendor/scripts/local/cloudwatch"
	"tokenvendor/scripts/local/dynamodb"
	"tokenvendor/scripts/local/kms"
	"tokenvendor/scripts/local/runtimeapi"
	"tokenvendor/scripts/local/secretsmanager"
	"tokenvendor/scripts/local/sts"
	"tokenvendor/scripts/local/workdir"
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
	urlAlias     = "url"
	prefix       = "token-vendor/clients/"
	cacheTable   = "token-vendor-cache"
	cacheKey     = "token-vendor-cache" // behind alias/
	policyName   = "token-vendor/policy"
)

// stack is all running servers. Close stops them.
type stack struct {
	config
	dir         *workdir.Dir
	log         *logFile
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
	awsURL      string // all services of AWS behind one address
	policyMode  string
	principals  []apigateway.Principal
	clients     []client
	kept        keptState
	meter       cloudwatch.Meter
	faults      faults
	faultsURL   string
	closers     []func() error // in the order of the starts
}

// config configures a stack.
type config struct {
	// policy is the file of a policy; empty: only IAM decides.
	policy string
	// keep is a directory that keeps the state; empty: none.
	keep string
	// dir is the directory that the launcher made; empty: the stack makes one.
	dir string
	// verbose gets a copy of the log; nil: there is none.
	verbose io.Writer
	// out is for people, and errOut is for the end of the log of a start that failed.
	out, errOut io.Writer
}

// start starts the servers in the order of their dependencies.
func start(ctx context.Context, cfg config) (*stack, error) {
	s := &stack{config: cfg, principals: demoPrincipals()}
	proof := rand.Text()
	for _, step := range []func() error{
		s.checkPolicy,
		func() error { return s.makeDir(ctx) },
		s.startLog,
		s.readState,
		s.startIssuer,
		s.startSecrets,
		s.startCache,
		s.startIdentity,
		s.seed,
		s.seedPolicy,
		func() error { return s.startFunction(proof) },
		func() error { return s.startGateway(proof) },
		func() error { return s.startJobs(ctx) },
		s.startAWS,
		s.startMetrics,
		s.startFaults,
		s.keepState,
	} {
		if err := step(); err != nil {
			err = errors.Join(err, s.log.show(cfg.errOut))
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

// makeDir takes the directory of the launcher, or makes one and compiles the functions.
func (s *stack) makeDir(ctx context.Context) (err error) {
	if s.config.dir != "" {
		s.dir = workdir.Use(s.config.dir)
		s.atClose(s.dir.Remove)
		return nil
	}
	if s.dir, err = workdir.New(); err != nil {
		return err
	}
	s.atClose(s.dir.Remove)
	return workdir.Compile(ctx, s.dir)
}

func (s *stack) startIssuer() error {
	listener, err := s.listen("issuer")
	if err != nil {
		return err
	}
	ca, err := s.kept.authority()
	if err != nil {
		return err
	}
	issuer, err := oauthtest.Start(oauthtest.Config{Listener: listener, CA: ca})
	if err != nil {
		return err
	}
	s.issuer = issuer
	s.atClose(func() error { issuer.Close(); return nil })
	// SSL_CERT_DIR names this directory, so it contains nothing but the CA file.
	s.caFile = filepath.Join(s.dir.Path(), "ca", "ca.pem")
	if err := os.Mkdir(filepath.Dir(s.caFile), 0o700); err != nil {
		return err
	}
	return os.WriteFile(s.caFile, issuer.CAPEM(), 0o600)
}

func (s *stack) startSecrets() (err error) {
	s.secrets = secretsmanager.New(secretsmanager.Config{Region: region, Account: account})
	if s.kept.Secrets != nil {
		if err := s.secrets.Restore(s.kept.Secrets); err != nil {
			return err
		}
	}
	s.secretsURL, err = s.serve("secretsmanager", s.secrets)
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
	if err := s.restoreCache(); err != nil {
		return err
	}
	if !s.keys.Has(cacheKey) {
		if _, err := s.keys.AddKey("SYMMETRIC_DEFAULT", cacheKey); err != nil {
			return err
		}
	}
	if s.tableURL, err = s.serve("dynamodb", s.table); err != nil {
		return err
	}
	s.keysURL, err = s.serve("kms", s.keys)
	return err
}

// startIdentity serves the STS that issues tokens for the function's role.
func (s *stack) startIdentity() (err error) {
	if s.identity, err = sts.New(sts.Config{Region: region, Account: account, Role: functionName}); err != nil {
		return err
	}
	s.identityURL, err = s.serve("sts", s.identity)
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
		"NOTE_USE=true",
		"METRICS_NAMESPACE=TokenVendor/" + functionName,
		"SSL_CERT_DIR=" + filepath.Dir(s.caFile),
	}
}

// startFunction runs the function token as AWS Lambda does. The seeded documents contain
// the CA of the authorization server. SSL_CERT_DIR is for documents without it; Go reads
// it on Linux only.
func (s *stack) startFunction(proof string) error {
	function, err := runtimeapi.Start(runtimeapi.Config{
		Binary:         s.dir.Binary("token"),
		Env:            append(s.environment(), "ENVELOPE_PROOF="+proof, "HTTP_ALIAS="+httpAlias, "URL_ALIAS="+urlAlias),
		FunctionName:   functionName,
		Region:         region,
		Account:        account,
		PrivateAliases: []string{httpAlias},
		MemoryMB:       256,
		Timeout:        25 * time.Second,
		Stdout:         functionLog{s, "token"},
		Stderr:         functionLog{s, "token"},
		Throttled:      s.faults.token.Load,
		Observe:        s.observe(functionName),
	})
	if err != nil {
		return err
	}
	s.function = function
	s.atClose(function.Close)
	return nil
}

func (s *stack) startGateway(proof string) error {
	gateway, err := apigateway.New(apigateway.Config{
		Region: region, Account: account, APIID: apiID, Stage: stage,
		StageVariables: map[string]string{"envelopeProof": proof},
		Principals:     s.principals,
		Invoke:         s.invoke,
		AccessLog:      s.log,
	})
	if err != nil {
		return err
	}
	url, err := s.serve("apigateway", s.measured(gateway))
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

// serve serves handler on 127.0.0.1 and returns its URL. name identifies the address in the
// kept state.
func (s *stack) serve(name string, handler http.Handler) (string, error) {
	listener, err := s.listen(name)
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	s.atClose(server.Close)
	return "http://" + listener.Addr().String(), nil
}
