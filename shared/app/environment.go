package app

import (
	"errors"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
)

// Environment is the parsed and checked environment of the process.
type Environment struct {
	// NamePrefix begins the names of what belongs to this deployment: the clients' secrets,
	// the policy, the secrets that tokens are delivered to, and the aliases of signing keys.
	NamePrefix string
	// ClientSecretPrefix and the name of a client form the name of its secret.
	ClientSecretPrefix string
	// EnvelopeProof is the required value of the stage variable envelopeProof in HTTP
	// events; empty: HTTP events need no proof.
	EnvelopeProof oauth.Secret
	// HTTPAlias is the only alias at which HTTP events are accepted; empty: all are.
	HTTPAlias string
	// URLAlias is the alias with a Function URL; empty: none.
	URLAlias string
	// SourceAliases are the only aliases at which the batch function accepts queues, events
	// and schedules, one for each, and it accepts nothing else there. If it is empty, all
	// aliases are accepted.
	SourceAliases map[audit.Source]string
	// PolicySecretID is the secret with the policy; empty: IAM alone decides.
	PolicySecretID string
	// SAMLocal means that the SAM CLI runs the function on a developer's machine, where
	// events have neither an identity nor a proof.
	SAMLocal bool
	// CacheTable is the DynamoDB table that the environments share; empty: none.
	CacheTable string
	// CacheKeyID is the KMS key for the rows of CacheTable; required with it.
	CacheKeyID string
	// PrefetchClients are the clients whose tokens are fetched at the start.
	PrefetchClients []string
	// WebIdentityAudiences are the audiences that a client's document may request for STS
	// tokens of the function's own identity.
	WebIdentityAudiences []string
	// ExchangeRates say how many exchanges per second authorization servers bear, whatever
	// clients' documents say; see [registry.ParseRates].
	ExchangeRates map[string]float64
	// EventBus is the name or ARN of the event bus for announcements of tokens; empty: none.
	EventBus string
	// DeadLetterQueue is the URL of the queue for messages that can never succeed; empty:
	// they stay in the queue that they come from.
	DeadLetterQueue string
	// MaxReceives is the number of receives after which a message counts as one that can
	// never succeed.
	MaxReceives int
	// ReservedConcurrency is the most environments of the token function at once; 0: no
	// limit.
	ReservedConcurrency int
	// MetricsNamespace is the namespace of the CloudWatch metrics.
	MetricsNamespace string
	// Addresses are the network addresses that authorization servers may have, and the proxy
	// that connects to them.
	//
	// EGRESS_PROXY is the URL of that proxy, such as http://proxy.example.com:3128 or, with
	// percent-encoded credentials, http://user:password@proxy.example.com:3128 (https is a TLS
	// connection to the proxy); empty: no proxy. Exchanges and the requests for metadata go
	// through it by CONNECT, and TLS is between the vendor and the authorization server. The
	// proxy resolves the server's name and decides which addresses are allowed:
	// ALLOW_PRIVATE_ENDPOINTS has no effect. HTTP_PROXY, HTTPS_PROXY and NO_PROXY have an
	// effect on the calls of AWS only, where they keep the meaning that the AWS SDK gives them,
	// and EGRESS_PROXY has no effect there.
	Addresses oauth.AddressPolicy
	// NoteUse means that the days on which callers use clients are noted for the radar of the
	// batch function.
	NoteUse bool
	// LogLevel is the lowest level that is logged.
	LogLevel slog.Level
}

const (
	// defaultReceives is the value of the queue in template.yaml.
	defaultReceives = 5
	// batchConcurrency is the most environments of the batch function in template.yaml.
	batchConcurrency = 20
	// maxPrefetch limits the time of a start.
	maxPrefetch = 100
	// maxVariables is Lambda's limit for all variables together, in bytes.
	maxVariables = 4 << 10
	// secretName are the characters of a secret's name, besides letters and digits.
	secretName = "/_+=.@-" // #nosec G101 -- characters
)

// variable is an environment variable and its parser.
type variable struct {
	name string
	// set parses a value that is not empty, and reports whether it is valid.
	set     func(value string) bool
	problem string // of an invalid value
}

// readEnvironment returns all problems in one error. Each names its variable but not the
// value, which may be a secret. An empty variable means the same as a missing one.
func readEnvironment(getenv func(string) string) (Environment, error) {
	env := Environment{
		NamePrefix:       "token-vendor",
		EnvelopeProof:    oauth.NewSecret(getenv("ENVELOPE_PROOF")),
		HTTPAlias:        getenv("HTTP_ALIAS"),
		URLAlias:         getenv("URL_ALIAS"),
		SAMLocal:         getenv("AWS_SAM_LOCAL") == "true",
		CacheTable:       getenv("CACHE_TABLE"),
		CacheKeyID:       getenv("CACHE_KMS_KEY_ID"),
		MaxReceives:      defaultReceives,
		MetricsNamespace: "TokenVendor",
	}
	var problems []error
	for _, v := range []variable{
		{"NAME_PREFIX", text(&env.NamePrefix, 128, "_-"), "must consist of letters, digits, hyphens and underscores"},
		{"CLIENT_SECRET_PREFIX", text(&env.ClientSecretPrefix, maxVariables, secretName), "holds characters that no secret's name has"},
		{"PREFETCH_CLIENTS", env.setPrefetchClients, "must be a list of client names with commas between them"},
		{"PREFETCH_CLIENTS", func(string) bool { return len(env.PrefetchClients) <= maxPrefetch }, "names more than 100 clients"},
		{"WEB_IDENTITY_AUDIENCES", env.setAudiences, "must be a list of audiences with commas between them"},
		{"EXCHANGE_RATES", env.setExchangeRates, "must be a list of servers and their exchanges per second (0.5 to 1000), such as as.example.com=100, with commas between them"},
		{"EVENT_BUS_NAME", text(&env.EventBus, 256, "._-/:"), "is neither the name nor the ARN of an event bus"},
		{"DEAD_LETTER_QUEUE_URL", env.setDeadLetterQueue, "is not the URL of a queue"},
		{"MAX_RECEIVES", env.setMaxReceives, "must be a whole number from 1 to 1000"},
		{"RESERVED_CONCURRENCY", env.setReservedConcurrency, "must be a whole number from 0 to 100000"},
		{"METRICS_NAMESPACE", text(&env.MetricsNamespace, 255, ".-_/#:"), "is not a namespace of CloudWatch"},
		{"ALLOW_PRIVATE_ENDPOINTS", env.setAddresses, "must be true, false or a list of networks such as 10.0.0.0/8"},
		{"EGRESS_PROXY", env.setProxy, "must be the http or https URL of a proxy with a host and a port; special characters of its user and password are percent-encoded"},
		{"NOTE_USE", env.setNoteUse, "must be true or false"},
		{"LOG_LEVEL", env.setLogLevel, "must be debug, info, warn or error"},
	} {
		if value := getenv(v.name); value != "" && !v.set(value) {
			problems = append(problems, errors.New(v.name+" "+v.problem))
		}
	}
	if env.ClientSecretPrefix == "" {
		env.ClientSecretPrefix = env.NamePrefix + "/clients/"
	}
	if env.CacheTable != "" && env.CacheKeyID == "" {
		// Without a key, a reader of the table would find tokens.
		problems = append(problems, errors.New("CACHE_KMS_KEY_ID must be set with CACHE_TABLE"))
	}
	if env.URLAlias != "" && env.URLAlias == env.HTTPAlias {
		// The event of a Function URL would pass without the proof.
		problems = append(problems, errors.New("URL_ALIAS must differ from HTTP_ALIAS"))
	}
	problems = append(problems, env.setSourceAliases(getenv), env.setPolicy(getenv("POLICY_MODE"), getenv("POLICY_SECRET_ID")))
	return env, errors.Join(problems...)
}

// text returns a parser of texts that consist of letters, digits and the characters of
// others, and have at most size bytes.
func text(to *string, size int, others string) func(string) bool {
	return func(value string) bool {
		*to = value
		return len(value) <= size && strings.Trim(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"+others) == ""
	}
}

// list returns the elements of a comma-separated list, without spaces around them.
func list(value string) []string {
	elements := strings.Split(value, ",")
	for i := range elements {
		elements[i] = strings.TrimSpace(elements[i])
	}
	return elements
}

func (env *Environment) setPrefetchClients(value string) bool {
	var clients []string
	for _, name := range list(value) {
		if !registry.ValidName(name) {
			return false
		}
		if !slices.Contains(clients, name) {
			clients = append(clients, name)
		}
	}
	env.PrefetchClients = clients
	return true
}

// setAudiences accepts audiences of up to 1000 characters, as STS does.
func (env *Environment) setAudiences(value string) bool {
	env.WebIdentityAudiences = list(value)
	return !slices.ContainsFunc(env.WebIdentityAudiences, func(audience string) bool {
		return audience == "" || len(audience) > 1000 || strings.ContainsFunc(audience, func(r rune) bool { return r <= ' ' || r > '~' })
	})
}

func (env *Environment) setExchangeRates(value string) (ok bool) {
	env.ExchangeRates, ok = registry.ParseRates(list(value))
	return ok
}

func (env *Environment) setDeadLetterQueue(value string) bool {
	env.DeadLetterQueue = value
	u, err := url.Parse(value)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}

func (env *Environment) setMaxReceives(value string) bool {
	n, err := strconv.Atoi(value)
	env.MaxReceives = n
	return err == nil && n >= 1 && n <= 1000
}

func (env *Environment) setReservedConcurrency(value string) bool {
	n, err := strconv.Atoi(value)
	env.ReservedConcurrency = n
	return err == nil && n >= 0 && n <= 100_000
}

// environments returns the most environments of all functions; 0: no limit.
func (env *Environment) environments() int {
	if env.ReservedConcurrency == 0 {
		return 0
	}
	return env.ReservedConcurrency + batchConcurrency
}

// setAddresses parses true, false, or a list of networks.
func (env *Environment) setAddresses(value string) bool {
	if all, err := strconv.ParseBool(value); err == nil {
		env.Addresses.Private = all
		return true
	}
	for _, network := range list(value) {
		prefix, err := netip.ParsePrefix(network)
		if err != nil {
			return false
		}
		env.Addresses.Prefixes = append(env.Addresses.Prefixes, prefix)
	}
	return true
}

func (env *Environment) setProxy(value string) bool {
	proxy, err := oauth.ParseProxy(value)
	env.Addresses.Proxy = proxy
	return err == nil
}

func (env *Environment) setNoteUse(value string) bool {
	env.NoteUse = value == "true"
	return env.NoteUse || value == "false"
}

func (env *Environment) setLogLevel(value string) bool {
	return env.LogLevel.UnmarshalText([]byte(value)) == nil
}

// setSourceAliases requires all aliases or none, so that a forgotten one does not open the
// function, and a different one for each source: an event in another source's shape must not
// pass for one of that source.
func (env *Environment) setSourceAliases(getenv func(string) string) error {
	aliases, seen := make(map[audit.Source]string), make(map[string]bool)
	for name, source := range map[string]audit.Source{"QUEUE_ALIAS": audit.SQS, "BUS_ALIAS": audit.Bus, "SCHEDULE_ALIAS": audit.Schedule} {
		if alias := getenv(name); alias != "" {
			aliases[source], seen[alias] = alias, true
		}
	}
	switch {
	case getenv("SOURCES_ALIAS") != "":
		// Ignored, it would leave a function open whose operator has closed it.
		return errors.New("SOURCES_ALIAS is replaced by QUEUE_ALIAS, BUS_ALIAS and SCHEDULE_ALIAS")
	case len(aliases) == 0:
		return nil
	case len(aliases) < 3:
		return errors.New("QUEUE_ALIAS, BUS_ALIAS and SCHEDULE_ALIAS must be set together")
	case len(seen) < 3:
		return errors.New("QUEUE_ALIAS, BUS_ALIAS and SCHEDULE_ALIAS must differ")
	}
	env.SourceAliases = aliases
	return nil
}

// setPolicy sets PolicySecretID in the mode document.
func (env *Environment) setPolicy(mode, id string) error {
	switch mode {
	case "", "iam":
		return nil
	case "document":
	default:
		// An unknown mode must not allow what the operator wants to deny.
		return errors.New("POLICY_MODE must be iam or document")
	}
	env.PolicySecretID = env.NamePrefix + "/policy"
	if id != "" && !text(&env.PolicySecretID, 512, secretName)(id) {
		return errors.New("POLICY_SECRET_ID is not the name of a secret")
	}
	if strings.HasPrefix(env.PolicySecretID, env.ClientSecretPrefix) {
		// With write access to clients' documents, a principal could change the policy.
		return errors.New("POLICY_SECRET_ID must not begin with CLIENT_SECRET_PREFIX")
	}
	return nil
}
