package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"tokenvendor/scripts/bench/clock"
	"tokenvendor/scripts/local/awsjson"
	"tokenvendor/scripts/local/dynamodb"
	"tokenvendor/scripts/local/kms"
	"tokenvendor/scripts/local/secretsmanager"
	"tokenvendor/shared/oauth/oauthtest"
)

// crowdConfig configures newCrowdEnv.
type crowdConfig struct {
	binary   string
	reserved int  // environments
	table    bool // the function shares a table
	clock    bool // the binary follows the clock; else time passes by waiting
}

// crowdEnv is a pool of the function, two authorization servers, and a table with the limits
// of DynamoDB.
type crowdEnv struct {
	cfg     crowdConfig
	dir     string
	clock   clock.File
	a, b    *authServer
	secrets *secretsmanager.Server
	table   *dynamodb.Server
	servers []*httptest.Server
	vars    []string // the function's environment variables
	pool    *pool
	output  *crowdOutput
	event   []byte // a sample event of a REST API
}

// newCrowdEnv starts the servers. The caller must close the result.
func newCrowdEnv(cfg crowdConfig) (*crowdEnv, error) {
	dir, err := os.MkdirTemp("", "token-vendor-bench-")
	if err != nil {
		return nil, err
	}
	e := &crowdEnv{
		cfg: cfg, dir: dir, clock: clock.File(filepath.Join(dir, "clock")),
		secrets: secretsmanager.New(secretsmanager.Config{Region: region, Account: account}),
		table:   dynamodb.New(dynamodb.Config{Region: region, Account: account, Limits: true}),
	}
	e.output = newCrowdOutput(e.clock)
	e.pool = newPool(cfg.reserved, func(ctx context.Context) (sandbox, error) {
		p, err := spawn(ctx, cfg.binary, e.vars, e.output.writer())
		if err != nil {
			return nil, err
		}
		return p, nil
	})
	if err := e.start(); err != nil {
		return nil, errors.Join(err, e.close())
	}
	return e, nil
}

func (e *crowdEnv) start() (err error) {
	if err := e.clock.Reset(); err != nil {
		return err
	}
	if e.event, err = os.ReadFile(filepath.Join("events", "rest-v1.json")); err != nil {
		return errors.New("events/rest-v1.json: run this in the repository")
	}
	if e.a, err = startAuthServer(e.clock); err != nil {
		return err
	}
	if e.b, err = startAuthServer(e.clock); err != nil {
		return err
	}
	keys := kms.New(kms.Config{Region: region, Account: account})
	key, err := keys.AddKey("SYMMETRIC_DEFAULT", "")
	ca := filepath.Join(e.dir, "ca.pem")
	authorities := append(e.a.CAPEM(), e.b.CAPEM()...)
	if err := errors.Join(err, e.table.AddTable(tableName, "name", "expires_at"), os.WriteFile(ca, authorities, 0o600)); err != nil {
		return err
	}
	urls := make([]string, 3)
	for i, server := range []*httptest.Server{httptest.NewServer(e.secrets), httptest.NewServer(e.table), httptest.NewServer(keys)} {
		e.servers, urls[i] = append(e.servers, server), server.URL
	}
	e.vars = []string{
		"AWS_ACCESS_KEY_ID=bench", "AWS_SECRET_ACCESS_KEY=bench", clock.Variable + "=" + string(e.clock),
		"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + urls[0], "AWS_ENDPOINT_URL_DYNAMODB=" + urls[1], "AWS_ENDPOINT_URL_KMS=" + urls[2],
		"SSL_CERT_FILE=" + ca, "SSL_CERT_DIR=" + ca + ".none", "ALLOW_PRIVATE_ENDPOINTS=true",
		fmt.Sprint("RESERVED_CONCURRENCY=", e.cfg.reserved),
	}
	if e.cfg.table {
		e.vars = append(e.vars, "CACHE_TABLE="+tableName, "CACHE_KMS_KEY_ID="+key)
	}
	return nil
}

// close ends all processes and servers, and removes all files.
func (e *crowdEnv) close() error {
	err := e.pool.retire(e.cfg.reserved)
	for _, server := range e.servers {
		server.CloseClientConnections()
		server.Close()
	}
	for _, server := range []*authServer{e.a, e.b} {
		if server != nil {
			server.Close()
		}
	}
	return errors.Join(err, os.RemoveAll(e.dir))
}

// addClient registers a client with a right secret and stores its document.
func (e *crowdEnv) addClient(s *authServer, id string, life time.Duration) error {
	s.Register(oauthtest.Client{ID: id, Methods: []string{"client_secret_post"}, Secrets: []string{firstSecret, secondSecret}, Lifetime: life})
	return e.paste(s, id, firstSecret)
}

// paste makes a document with this secret the current version of the client's.
func (e *crowdEnv) paste(s *authServer, id, secret string) error {
	document, err := json.Marshal(map[string]any{
		"token_endpoint": s.TokenEndpoint(), "client_id": id, "client_secret": secret, "allow_parameters": []string{"app_tid"},
	})
	if err != nil {
		return err
	}
	_, err = e.secrets.Seed("token-vendor/clients/"+id, string(document))
	return err
}

// slowTable makes every call of the table take d longer.
func (e *crowdEnv) slowTable(d time.Duration) { e.tableFault(awsjson.Fault{Delay: d}) }

// cutTable makes every call of the table wait until its caller gives up.
func (e *crowdEnv) cutTable() { e.tableFault(awsjson.Fault{Hang: true}) }

func (e *crowdEnv) tableFault(f awsjson.Fault) {
	for _, operation := range []string{"GetItem", "UpdateItem"} {
		e.table.Inject(operation, 1<<30, f)
	}
}

// request returns the event of a caller that asks for a client's token with a form.
func (e *crowdEnv) request(caller, client, form string) []byte {
	body, _ := json.Marshal(form)
	// The names of the sample are those of a role, its session and a client.
	event := bytes.ReplaceAll(e.event, []byte("assumed-role/billing-job/"), []byte("assumed-role/"+caller+"/"))
	event = bytes.ReplaceAll(event, []byte("EXAMPLEBILLINGJOB"), []byte("EXAMPLE"+fmt.Sprintf("%X", caller)))
	event = bytes.ReplaceAll(event, []byte("/token/billing"), []byte("/token/"+client))
	event = bytes.ReplaceAll(event, []byte(`"client": "billing"`), []byte(`"client": "`+client+`"`))
	return bytes.ReplaceAll(event, []byte(`"grant_type=client_credentials"`), body)
}

// pass lets d pass in steps, and calls work at the start of each: either the clock is set ahead
// after it, or pass waits. During work no time passes for the function.
func (e *crowdEnv) pass(ctx context.Context, d, step time.Duration, work func(i int) error) error {
	for i := range int(d / step) {
		end := time.Now().Add(step)
		if err := errors.Join(work(i), ctx.Err()); err != nil {
			return err
		}
		if !e.cfg.clock {
			sleep(ctx, time.Until(end))
		} else if err := e.clock.Advance(step); err != nil {
			return err
		}
	}
	return nil
}
