package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"tokenvendor/scripts/local/awsjson"
	"tokenvendor/scripts/local/dynamodb"
	"tokenvendor/scripts/local/kms"
	"tokenvendor/scripts/local/runtimeapi"
	"tokenvendor/scripts/local/secretsmanager"
	"tokenvendor/scripts/local/sts"
	"tokenvendor/shared/oauth/oauthtest"
)

const (
	region, account = "eu-central-1", "123456789012"
	secretName      = "token-vendor/clients/billing"
	tableName       = "bench-cache"
	firstSecret     = "cnry-first"  // #nosec G101 -- of a server that this program starts
	secondSecret    = "cnry-second" // #nosec G101 -- as above
)

// envConfig configures newEnv.
type envConfig struct {
	life        time.Duration // of the tokens of the client "bench"
	table       bool          // the function shares a table
	wrongSecret bool          // the stored secret is wrong
	proxied     bool          // the function reaches every server through a proxy
	keepAlive   bool          // the proxies keep connections
	// now is the authorization server's clock; nil: that of this machine.
	now func() time.Time
}

// env is the compiled token function and the servers that it calls.
type env struct {
	dir, binary string
	issuer      *oauthtest.Server
	secrets     *secretsmanager.Server
	table       *dynamodb.Server
	keys        *kms.Server
	sts         *sts.Server
	vars        []string // the function's environment variables
	servers     []*httptest.Server
	urls        map[string]string           // by the server's name
	proxies     map[string]*oauthtest.Proxy // by the server's name; empty unless proxied
	issuerURL   string                      // of its proxy, if there is one
}

// newEnv compiles the token function and starts the servers. The caller must close env.
func newEnv(ctx context.Context, cfg envConfig) (*env, error) {
	dir, err := os.MkdirTemp("", "token-vendor-bench-")
	if err != nil {
		return nil, err
	}
	e := &env{
		dir: dir, binary: filepath.Join(dir, "token"),
		secrets: secretsmanager.New(secretsmanager.Config{Region: region, Account: account}),
		table:   dynamodb.New(dynamodb.Config{Region: region, Account: account}),
		keys:    kms.New(kms.Config{Region: region, Account: account}),
		proxies: make(map[string]*oauthtest.Proxy),
	}
	if err := e.start(ctx, cfg); err != nil {
		return nil, errors.Join(err, e.close())
	}
	return e, nil
}

func (e *env) start(ctx context.Context, cfg envConfig) (err error) {
	if err := build(ctx, tokenPackage, e.binary); err != nil {
		return err
	}
	if e.sts, err = sts.New(sts.Config{Region: region, Account: account, Role: "bench"}); err != nil {
		return err
	}
	if e.issuer, err = oauthtest.Start(oauthtest.Config{NeverLock: true, Now: cfg.now}); err != nil {
		return err
	}
	e.issuer.Register(oauthtest.Client{ID: "bench", Methods: []string{"client_secret_post"}, Secrets: []string{firstSecret}, Lifetime: cfg.life})
	e.urls = map[string]string{
		"authorization server": e.issuer.URL(), "Secrets Manager": e.serve(e.secrets), "DynamoDB": e.serve(e.table), "KMS": e.serve(e.keys), "STS": e.serve(e.sts),
	}
	urls := maps.Clone(e.urls)
	if cfg.proxied {
		if err := e.startProxies(urls, cfg.keepAlive); err != nil {
			return err
		}
	}
	e.issuerURL = urls["authorization server"]
	secret := firstSecret
	if cfg.wrongSecret {
		secret = "wrong"
	}
	ca := filepath.Join(e.dir, "ca.pem")
	key, err := e.keys.AddKey("SYMMETRIC_DEFAULT", "")
	if err := errors.Join(err, e.table.AddTable(tableName, "name", "expires_at"), e.storeSecret(secret), os.WriteFile(ca, e.issuer.CAPEM(), 0o600)); err != nil {
		return err
	}
	e.vars = []string{
		"AWS_ACCESS_KEY_ID=bench", "AWS_SECRET_ACCESS_KEY=bench",
		"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + urls["Secrets Manager"],
		"AWS_ENDPOINT_URL_DYNAMODB=" + urls["DynamoDB"],
		"AWS_ENDPOINT_URL_KMS=" + urls["KMS"],
		"AWS_ENDPOINT_URL_STS=" + urls["STS"], "WEB_IDENTITY_AUDIENCES=" + audience,
		"SSL_CERT_FILE=" + ca, "SSL_CERT_DIR=" + ca + ".none", "ALLOW_PRIVATE_ENDPOINTS=true",
	}
	if cfg.table {
		e.vars = append(e.vars, "CACHE_TABLE="+tableName, "CACHE_KMS_KEY_ID="+key)
	}
	return nil
}

// startFunction prepares one process of the function, which its first event starts.
func (e *env) startFunction(vars []string, concurrency int, out io.Writer) (*runtimeapi.Runtime, error) {
	return runtimeapi.Start(runtimeapi.Config{
		Binary: e.binary, FunctionName: "bench", Region: region, Account: account, MemoryMB: 256,
		Timeout: answerTime, MaxConcurrency: concurrency, Stdout: out, Stderr: out, Env: vars,
	})
}

// tokenPackage is the package of the token function.
const tokenPackage = "functions/token"

// build compiles a package of this module as scripts/build does, but without the flags of the
// compiler for what the token function is compared with: they make a function slower. The linker's
// output is copied to file, since a file fresh from the linker starts slower than its copy.
func build(ctx context.Context, pkg, file string, flags ...string) error {
	args := append([]string{"build", "-buildvcs=false", "-trimpath", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", file + ".fresh"}, flags...)
	if pkg == tokenPackage {
		args = append(args, "-gcflags", "github.com/aws/aws-sdk-go-v2/service/...=-l", "-gcflags", "reflect=-l", "-gcflags", "fmt=-l")
	}
	// #nosec G204 -- fixed arguments but for names of our own.
	cmd := exec.CommandContext(ctx, "go", append(args, "tokenvendor/"+pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, output)
	}
	binary, err := os.ReadFile(file + ".fresh")
	if err != nil {
		return err
	}
	return os.WriteFile(file, binary, 0o700) // #nosec G306 -- it must be executable
}

// startProxies starts a proxy for each server and replaces the server's URL by the
// proxy's.
func (e *env) startProxies(urls map[string]string, keepAlive bool) error {
	for name, url := range urls {
		proxy, err := oauthtest.StartProxy(oauthtest.ProxyConfig{Target: url, CA: e.issuer.CA(), KeepAlive: keepAlive})
		if err != nil {
			return err
		}
		e.proxies[name], urls[name] = proxy, proxy.URL()
	}
	return nil
}

func (e *env) serve(handler http.Handler) (url string) {
	server := httptest.NewServer(handler)
	e.servers = append(e.servers, server)
	return server.URL
}

// serveTLS serves the handler with a certificate of the authorization server's CA.
func (e *env) serveTLS(handler http.Handler) (url string, err error) {
	issued, err := e.issuer.CA().Issue(oauthtest.Leaf{CommonName: "localhost", Hosts: []string{"127.0.0.1"}, NotAfter: time.Now().AddDate(1, 0, 0)})
	if err != nil {
		return "", err
	}
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{issued.TLS()}}
	server.StartTLS()
	e.servers = append(e.servers, server)
	return server.URL, nil
}

// close stops all servers and removes all files.
func (e *env) close() error {
	for _, proxy := range e.proxies {
		proxy.Close()
	}
	for _, server := range e.servers {
		server.CloseClientConnections()
		server.Close()
	}
	if e.issuer != nil {
		e.issuer.Close()
	}
	return os.RemoveAll(e.dir)
}

// storeSecret makes a document with this secret the current version of the client's.
func (e *env) storeSecret(secret string) error {
	document, err := json.Marshal(map[string]string{"token_endpoint": e.tokenEndpoint(), "client_id": "bench", "client_secret": secret})
	if err != nil {
		return err
	}
	_, err = e.secrets.Seed(secretName, string(document))
	return err
}

func (e *env) tokenEndpoint() string { return e.issuerURL + oauthtest.TokenPath }

// rotate replaces the secret at the authorization server and in the document.
func (e *env) rotate(secret string) error {
	return errors.Join(e.issuer.SetSecrets("bench", secret), e.storeSecret(secret))
}

// hangTable makes every later call of the table wait until its caller gives up.
func (e *env) hangTable() {
	for _, operation := range []string{"GetItem", "UpdateItem"} {
		e.table.Inject(operation, 1<<30, awsjson.Fault{Hang: true})
	}
}

// counts is what the servers have counted.
type counts struct {
	exchanges, requests, failedLogons, reads, table, keys int
}

func (e *env) counts() counts {
	return counts{
		exchanges: e.issuer.Exchanges(), requests: len(e.issuer.Requests()), failedLogons: e.issuer.FailedLogons("bench"),
		reads: e.secrets.Calls("GetSecretValue"),
		table: e.table.Calls("GetItem") + e.table.Calls("UpdateItem"),
		keys:  e.keys.Calls("GenerateDataKey") + e.keys.Calls("Decrypt"),
	}
}

func (c counts) minus(d counts) counts {
	return counts{c.exchanges - d.exchanges, c.requests - d.requests, c.failedLogons - d.failedLogons, c.reads - d.reads, c.table - d.table, c.keys - d.keys}
}
