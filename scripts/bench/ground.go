package main

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"tokenvendor/scripts/local/awsjson"
	"tokenvendor/scripts/local/dynamodb"
	"tokenvendor/scripts/local/kms"
	"tokenvendor/scripts/local/secretsmanager"
	"tokenvendor/scripts/local/sts"
	"tokenvendor/shared/oauth/oauthtest"
)

// ground is the servers that a fleet stands on.
type ground struct {
	issuer  *oauthtest.Server
	secrets *secretsmanager.Server
	table   *dynamodb.Server
	keys    *kms.Server
	sts     *sts.Server
	env     []string
	servers []*httptest.Server
	urls    map[string]string // of the servers, by their names
	// proxies stand before the servers, by their names; empty unless the drill asks for
	// them.
	proxies   map[string]*oauthtest.Proxy
	issuerURL string // of the proxy, if there is one
}

const (
	region, account = "eu-central-1", "123456789012"
	secretName      = "token-vendor/clients/billing"
	tableName       = "bench-cache"
	firstSecret     = "cnry-first"  // #nosec G101 -- of a server that this program starts
	secondSecret    = "cnry-second" // #nosec G101 -- as above
	// hardly is a number of calls that no drill makes.
	hardly = 1 << 30
)

func newGround(dir string, d drill) (g *ground, err error) {
	vouching, err := sts.New(sts.Config{Region: region, Account: account, Role: "bench"})
	if err != nil {
		return nil, err
	}
	issuer, err := oauthtest.Start(oauthtest.Config{NeverLock: true})
	if err != nil {
		return nil, err
	}
	g = &ground{
		issuer:  issuer,
		sts:     vouching,
		secrets: secretsmanager.New(secretsmanager.Config{Region: region, Account: account}),
		table:   dynamodb.New(dynamodb.Config{Region: region, Account: account}),
		keys:    kms.New(kms.Config{Region: region, Account: account}),
		proxies: make(map[string]*oauthtest.Proxy), issuerURL: issuer.URL(),
	}
	issuer.Register(oauthtest.Client{ID: "bench", Methods: []string{"client_secret_post"}, Secrets: []string{firstSecret}, Lifetime: d.life})
	ca := filepath.Join(dir, "ca.pem")
	secret := firstSecret
	if d.wrongSecret {
		secret = "wrong"
	}
	g.urls = map[string]string{
		"authorization server": issuer.URL(), "Secrets Manager": g.serve(g.secrets), "DynamoDB": g.serve(g.table), "KMS": g.serve(g.keys), "STS": g.serve(g.sts),
	}
	urls := maps.Clone(g.urls)
	if d.proxied {
		if err := g.standBefore(urls, d.keepAlive); err != nil {
			g.stop()
			return nil, err
		}
		g.issuerURL = urls["authorization server"]
	}
	key, keyErr := g.keys.AddKey("SYMMETRIC_DEFAULT", "")
	if err := errors.Join(keyErr, g.table.AddTable(tableName, "name", "expires_at"), g.put(secret), os.WriteFile(ca, issuer.CAPEM(), 0o600)); err != nil {
		g.stop()
		return nil, err
	}
	g.env = environment(urls, ca)
	if d.table {
		g.env = append(g.env, "CACHE_TABLE="+tableName, "CACHE_KMS_KEY_ID="+key)
	}
	return g, nil
}

// environment tells the function where the servers are, and whom to believe.
func environment(urls map[string]string, ca string) []string {
	return []string{
		"AWS_ACCESS_KEY_ID=bench", "AWS_SECRET_ACCESS_KEY=bench",
		"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + urls["Secrets Manager"],
		"AWS_ENDPOINT_URL_DYNAMODB=" + urls["DynamoDB"],
		"AWS_ENDPOINT_URL_KMS=" + urls["KMS"],
		"AWS_ENDPOINT_URL_STS=" + urls["STS"], "WEB_IDENTITY_AUDIENCES=" + audience,
		"SSL_CERT_FILE=" + ca, "SSL_CERT_DIR=" + ca + ".none", "ALLOW_PRIVATE_ENDPOINTS=true",
	}
}

// standBefore puts a proxy before each server, and its URL in the place of the server's.
func (g *ground) standBefore(urls map[string]string, keepAlive bool) error {
	for name, url := range urls {
		proxy, err := oauthtest.StartProxy(oauthtest.ProxyConfig{Target: url, CA: g.issuer.CA(), KeepAlive: keepAlive})
		if err != nil {
			return err
		}
		g.proxies[name], urls[name] = proxy, proxy.URL()
	}
	return nil
}

func (g *ground) serve(handler http.Handler) (url string) {
	server := httptest.NewServer(handler)
	g.servers = append(g.servers, server)
	return server.URL
}

func (g *ground) stop() {
	for _, proxy := range g.proxies {
		proxy.Close()
	}
	for _, server := range g.servers {
		server.CloseClientConnections()
		server.Close()
	}
	g.issuer.Close()
}

// put makes a new version of the client's document current.
func (g *ground) put(secret string) error {
	document, err := json.Marshal(map[string]string{"token_endpoint": g.issuerURL + oauthtest.TokenPath, "client_id": "bench", "client_secret": secret})
	if err != nil {
		return err
	}
	_, err = g.secrets.Seed(secretName, string(document))
	return err
}

// correct puts the right secret in the place of a wrong one.
func (g *ground) correct() error { return g.put(firstSecret) }

// rotate lets the old secret die as the new one becomes current.
func (g *ground) rotate() error { return g.rotateTo(secondSecret) }

func (g *ground) rotateTo(secret string) error {
	return errors.Join(g.issuer.SetSecrets("bench", secret), g.put(secret))
}

// tableDown lets every call of the table wait until its caller gives up.
func (g *ground) tableDown(down bool) {
	times := 0
	if down {
		times = hardly
	}
	for _, operation := range []string{"GetItem", "UpdateItem"} {
		g.table.Inject(operation, times, awsjson.Fault{Hang: true})
	}
}

// counts is what the servers have counted.
type counts struct {
	exchanges, asked, failedLogons, reads, table, keys int
}

func (g *ground) counts() counts {
	return counts{
		exchanges: g.issuer.Exchanges(), asked: len(g.issuer.Requests()), failedLogons: g.issuer.FailedLogons("bench"),
		reads: g.secrets.Calls("GetSecretValue"),
		table: g.table.Calls("GetItem") + g.table.Calls("UpdateItem"),
		keys:  g.keys.Calls("GenerateDataKey") + g.keys.Calls("Decrypt"),
	}
}

func (c counts) minus(d counts) counts {
	return counts{c.exchanges - d.exchanges, c.asked - d.asked, c.failedLogons - d.failedLogons, c.reads - d.reads, c.table - d.table, c.keys - d.keys}
}
