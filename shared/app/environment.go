package app

import (
	"cmp"
	"errors"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
)

// Environment is what the process's variables say, checked.
type Environment struct {
	// ClientSecretPrefix stands before a client's name in its secret's name.
	ClientSecretPrefix string
	// EnvelopeProof is the value that an HTTP event's stage variable
	// envelopeProof must have; empty: HTTP events are believed.
	EnvelopeProof oauth.Secret
	// HTTPAlias is the alias through which HTTP events are believed; empty: any.
	HTTPAlias string
	// URLAlias is the alias that has a Function URL; empty: none has.
	URLAlias string
	// SourcesAlias is the alias through which the batch function believes queues, events
	// and schedules, and nobody else; empty: any.
	SourcesAlias string
	// PolicySecretID is the secret that holds the policy; empty: IAM alone decides.
	PolicySecretID string
	// SAMLocal says that the SAM CLI runs the function on a developer's machine,
	// where events have neither identity nor proof.
	SAMLocal bool
	// CacheTable is the DynamoDB table that the environments share; empty: none.
	CacheTable string
	// CacheKeyID is the KMS key that seals it; set with CacheTable.
	CacheKeyID string
	// PrefetchClients are the clients whose tokens are fetched at the start.
	PrefetchClients []string
	// WebIdentityAudiences are what a client's document may ask STS to name as the
	// audience of a token of the function's own identity.
	WebIdentityAudiences []string
	// EventBus is the name or ARN of the event bus that tokens are announced on; empty:
	// there is none.
	EventBus string
	// DeadLetterQueue is the URL of the queue for messages that can never be done;
	// empty: they are left to the queue they come from.
	DeadLetterQueue string
	// MaxReceives is how often a message is received before it is such a message.
	MaxReceives int
	// MetricsNamespace is that of the CloudWatch metrics.
	MetricsNamespace string
	// Addresses are those that authorization servers may have.
	Addresses oauth.AddressPolicy
	// LogLevel is the least level that is logged.
	LogLevel slog.Level
}

const (
	defaultPrefix    = "token-vendor/clients/"
	defaultPolicy    = "token-vendor/policy" // #nosec G101 -- the name of a secret
	defaultNamespace = "TokenVendor"
	// defaultReceives is what the template gives its queue.
	defaultReceives = 5
	// maxPrefetch clients are enough for one function's start.
	maxPrefetch = 100
)

// readEnvironment returns all problems at once, each naming its variable and never its
// value.
func readEnvironment(getenv func(string) string) (Environment, error) {
	env := Environment{
		ClientSecretPrefix: cmp.Or(getenv("CLIENT_SECRET_PREFIX"), defaultPrefix),
		EnvelopeProof:      oauth.NewSecret(getenv("ENVELOPE_PROOF")),
		HTTPAlias:          getenv("HTTP_ALIAS"),
		URLAlias:           getenv("URL_ALIAS"),
		SourcesAlias:       getenv("SOURCES_ALIAS"),
		SAMLocal:           getenv("AWS_SAM_LOCAL") == "true",
		CacheTable:         getenv("CACHE_TABLE"),
		CacheKeyID:         getenv("CACHE_KMS_KEY_ID"),
		EventBus:           getenv("EVENT_BUS_NAME"),
		DeadLetterQueue:    getenv("DEAD_LETTER_QUEUE_URL"),
		MetricsNamespace:   cmp.Or(getenv("METRICS_NAMESPACE"), defaultNamespace),
	}
	problems := make([]error, 7)
	env.PolicySecretID, problems[0] = policySecret(getenv("POLICY_MODE"), getenv("POLICY_SECRET_ID"), env.ClientSecretPrefix)
	env.PrefetchClients, problems[1] = clientNames(getenv("PREFETCH_CLIENTS"))
	env.WebIdentityAudiences, problems[2] = audiences(getenv("WEB_IDENTITY_AUDIENCES"))
	env.MaxReceives, problems[3] = receives(getenv("MAX_RECEIVES"))
	env.Addresses, problems[4] = addressPolicy(getenv("ALLOW_PRIVATE_ENDPOINTS"))
	env.LogLevel, problems[5] = logLevel(getenv("LOG_LEVEL"))
	problems[6] = env.check()
	return env, errors.Join(problems...)
}

// check returns the problems of variables that are taken as they are.
func (env *Environment) check() error {
	queue, err := url.Parse(env.DeadLetterQueue)
	var problems []error
	for _, rule := range []struct {
		broken  bool
		problem string
	}{
		{strings.ContainsFunc(env.ClientSecretPrefix, notNameByte), "CLIENT_SECRET_PREFIX holds characters that no secret's name has"},
		// Without a key, a reader of the table would find tokens.
		{env.CacheTable != "" && env.CacheKeyID == "", "CACHE_KMS_KEY_ID must be set with CACHE_TABLE"},
		{len(env.MetricsNamespace) > 255 || strings.ContainsFunc(env.MetricsNamespace, notNamespaceByte), "METRICS_NAMESPACE is not a namespace of CloudWatch"},
		// The event of a Function URL would pass without the proof.
		{env.URLAlias != "" && env.URLAlias == env.HTTPAlias, "URL_ALIAS must differ from HTTP_ALIAS"},
		{len(env.EventBus) > 256 || strings.ContainsFunc(env.EventBus, notBusByte), "EVENT_BUS_NAME is neither the name nor the ARN of an event bus"},
		{env.DeadLetterQueue != "" && (err != nil || queue.Scheme != "https" && queue.Scheme != "http" || queue.Host == ""), "DEAD_LETTER_QUEUE_URL is not the URL of a queue"},
	} {
		if rule.broken {
			problems = append(problems, errors.New(rule.problem))
		}
	}
	return errors.Join(problems...)
}

func logLevel(value string) (level slog.Level, err error) {
	if value != "" && level.UnmarshalText([]byte(value)) != nil {
		err = errors.New("LOG_LEVEL must be debug, info, warn or error")
	}
	return level, err
}

// notNameByte is true for what AWS allows in no secret's name.
func notNameByte(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("/_+=.@-", r)
}

// notNamespaceByte is true for what CloudWatch allows in no namespace.
func notNamespaceByte(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(".-_/#:", r)
}

// notBusByte is true for what no name and no ARN of an event bus has.
func notBusByte(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-/:", r)
}

func receives(value string) (int, error) {
	if value == "" {
		return defaultReceives, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > 1000 {
		return 0, errors.New("MAX_RECEIVES must be a whole number from 1 to 1000")
	}
	return n, nil
}

// policySecret returns the name of the secret that holds the policy; empty in the
// mode iam.
func policySecret(mode, id, prefix string) (string, error) {
	id = cmp.Or(id, defaultPolicy)
	switch {
	case mode == "" || mode == "iam":
		return "", nil
	case mode != "document":
		// To go on would be to allow what the operator wants denied.
		return "", errors.New("POLICY_MODE must be iam or document")
	case len(id) > 512 || strings.ContainsFunc(id, notNameByte):
		return "", errors.New("POLICY_SECRET_ID is not the name of a secret")
	case strings.HasPrefix(id, prefix):
		// Whoever may write clients' documents would write the policy.
		return "", errors.New("POLICY_SECRET_ID must not begin with CLIENT_SECRET_PREFIX")
	}
	return id, nil
}

// clientNames reads a comma-separated list.
func clientNames(value string) ([]string, error) {
	var names []string
	for name := range strings.SplitSeq(value, ",") {
		if name = strings.TrimSpace(name); name == "" && value == "" {
			break
		}
		if !registry.ValidName(name) {
			return nil, errors.New("PREFETCH_CLIENTS must be a list of client names with commas between them")
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) > maxPrefetch {
		return nil, errors.New("PREFETCH_CLIENTS names more than 100 clients")
	}
	return names, nil
}

// audiences reads a comma-separated list; STS takes audiences of up to 1000
// characters.
func audiences(value string) ([]string, error) {
	var list []string
	for audience := range strings.SplitSeq(value, ",") {
		if audience = strings.TrimSpace(audience); audience == "" && value == "" {
			break
		}
		if audience == "" || len(audience) > 1000 || strings.ContainsFunc(audience, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, errors.New("WEB_IDENTITY_AUDIENCES must be a list of audiences with commas between them")
		}
		list = append(list, audience)
	}
	return list, nil
}

// addressPolicy reads true, false, or a comma-separated list of networks.
func addressPolicy(value string) (oauth.AddressPolicy, error) {
	if value == "" {
		return oauth.AddressPolicy{}, nil
	}
	if all, err := strconv.ParseBool(value); err == nil {
		return oauth.AddressPolicy{Private: all}, nil
	}
	var policy oauth.AddressPolicy
	for text := range strings.SplitSeq(value, ",") {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			return policy, errors.New("ALLOW_PRIVATE_ENDPOINTS must be true, false or a list of networks such as 10.0.0.0/8")
		}
		policy.Prefixes = append(policy.Prefixes, prefix)
	}
	return policy, nil
}
