package app

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"tokenvendor/shared/audit"
)

// getenv returns a function that reads variables from a map.
func getenv(variables map[string]string) func(string) string {
	return func(name string) string { return variables[name] }
}

func TestEnvironmentDefaults(t *testing.T) {
	env, err := readEnvironment(getenv(nil))
	if err != nil {
		t.Fatal(err)
	}
	if env.NamePrefix != "token-vendor" || env.ClientSecretPrefix != "token-vendor/clients/" || !env.EnvelopeProof.IsZero() || env.HTTPAlias != "" || env.SourceAliases != nil || env.SAMLocal ||
		env.Addresses.Private || env.Addresses.Prefixes != nil || env.LogLevel != slog.LevelInfo {
		t.Errorf("got %+v, want the defaults", env)
	}
}

func TestEnvironmentAcceptsValues(t *testing.T) {
	for _, test := range []struct {
		name, value string
		ok          func(Environment) bool
	}{
		{"NAME_PREFIX", "stack-2", func(e Environment) bool {
			return e.NamePrefix == "stack-2" && e.ClientSecretPrefix == "stack-2/clients/"
		}},
		{"CLIENT_SECRET_PREFIX", "a/B_1+=.@-/", func(e Environment) bool { return e.ClientSecretPrefix == "a/B_1+=.@-/" }},
		{"ENVELOPE_PROOF", "x y", func(e Environment) bool { return e.EnvelopeProof.Expose() == "x y" }},
		{"HTTP_ALIAS", "http", func(e Environment) bool { return e.HTTPAlias == "http" }},
		{"QUEUE_ALIAS", "", func(e Environment) bool { return e.SourceAliases == nil }},
		{"AWS_SAM_LOCAL", "true", func(e Environment) bool { return e.SAMLocal }},
		{"AWS_SAM_LOCAL", "1", func(e Environment) bool { return !e.SAMLocal }},
		{"URL_ALIAS", "url", func(e Environment) bool { return e.URLAlias == "url" }},
		{"POLICY_MODE", "iam", func(e Environment) bool { return e.PolicySecretID == "" }},
		{"POLICY_MODE", "document", func(e Environment) bool { return e.PolicySecretID == "token-vendor/policy" }},
		{"POLICY_SECRET_ID", "*", func(e Environment) bool { return e.PolicySecretID == "" }}, // not used in the mode iam
		{"WEB_IDENTITY_AUDIENCES", "api://a, https://b", func(e Environment) bool { return fmt.Sprint(e.WebIdentityAudiences) == "[api://a https://b]" }},
		{"CACHE_KMS_KEY_ID", "alias/x", func(e Environment) bool { return e.CacheKeyID == "alias/x" && e.CacheTable == "" }},
		{"METRICS_NAMESPACE", "Team/Tokens", func(e Environment) bool { return e.MetricsNamespace == "Team/Tokens" }},
		{"METRICS_NAMESPACE", "", func(e Environment) bool { return e.MetricsNamespace == "TokenVendor" }},
		{"PREFETCH_CLIENTS", "", func(e Environment) bool { return e.PrefetchClients == nil }},
		{"PREFETCH_CLIENTS", "billing, payroll,billing", func(e Environment) bool { return fmt.Sprint(e.PrefetchClients) == "[billing payroll]" }},
		{"EVENT_BUS_NAME", "arn:aws:events:eu-central-1:111122223333:event-bus/tokens", func(e Environment) bool { return strings.HasSuffix(e.EventBus, "/tokens") }},
		{"DEAD_LETTER_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/111122223333/dead", func(e Environment) bool { return strings.HasSuffix(e.DeadLetterQueue, "/dead") }},
		{"MAX_RECEIVES", "", func(e Environment) bool { return e.MaxReceives == 5 }},
		{"MAX_RECEIVES", "1000", func(e Environment) bool { return e.MaxReceives == 1000 }},
		{"EXCHANGE_RATES", "", func(e Environment) bool { return e.ExchangeRates == nil }},
		{"EXCHANGE_RATES", "as.example=100, AS2.example:8443=0.5", func(e Environment) bool {
			return fmt.Sprint(e.ExchangeRates) == "map[as.example:100 as2.example:8443:0.5]"
		}},
		{"RESERVED_CONCURRENCY", "", func(e Environment) bool { return e.environments() == 0 }},
		{"RESERVED_CONCURRENCY", "0", func(e Environment) bool { return e.environments() == 0 }},
		{"RESERVED_CONCURRENCY", "50", func(e Environment) bool { return e.environments() == 70 }},
		{"EGRESS_PROXY", "", func(e Environment) bool { return e.Addresses.Proxy == nil }},
		{"EGRESS_PROXY", "http://user:p%40ss@proxy.example:3128", func(e Environment) bool { return e.Addresses.Proxy != nil && !e.Addresses.Private }},
		{"HTTPS_PROXY", "http://proxy.example:3128", func(e Environment) bool { return e.Addresses.Proxy == nil }},
		{"NOTE_USE", "", func(e Environment) bool { return !e.NoteUse }},
		{"NOTE_USE", "true", func(e Environment) bool { return e.NoteUse }},
		{"LOG_LEVEL", "debug", func(e Environment) bool { return e.LogLevel == slog.LevelDebug }},
		{"LOG_LEVEL", "WARN", func(e Environment) bool { return e.LogLevel == slog.LevelWarn }},
		{"ALLOW_PRIVATE_ENDPOINTS", "false", func(e Environment) bool { return !e.Addresses.Private }},
		{"ALLOW_PRIVATE_ENDPOINTS", "true", func(e Environment) bool { return e.Addresses.Private }},
		{"ALLOW_PRIVATE_ENDPOINTS", "10.0.0.0/8, fd00::/8", func(e Environment) bool {
			return !e.Addresses.Private && fmt.Sprint(e.Addresses.Prefixes) == "[10.0.0.0/8 fd00::/8]"
		}},
	} {
		env, err := readEnvironment(getenv(map[string]string{test.name: test.value}))
		if err != nil || !test.ok(env) {
			t.Errorf("%s=%s: got %+v, error %v; want the value", test.name, test.value, env, err)
		}
	}
}

// TestEnvironmentErrorNamesVariableButNotValue tests one bad value at a time.
func TestEnvironmentErrorNamesVariableButNotValue(t *testing.T) {
	for _, test := range []struct{ name, value string }{
		{"NAME_PREFIX", "cnry/x"},
		{"NAME_PREFIX", strings.Repeat("x", 129)},
		{"CLIENT_SECRET_PREFIX", "cnry*/"},
		{"CLIENT_SECRET_PREFIX", "cnry clients/"},
		{"CLIENT_SECRET_PREFIX", "arn:aws:secretsmanager:eu-central-1:111122223333:secret:cnry/"},
		// If an unknown mode meant the default, it would allow what the operator wants to
		// deny.
		{"POLICY_MODE", "IAM"},
		{"SOURCES_ALIAS", "cnry"},
		{"QUEUE_ALIAS", "cnry"},
		{"NOTE_USE", "cnry"},
		{"POLICY_MODE", "cnry"},
		{"PREFETCH_CLIENTS", "billing,Cnry"},
		{"PREFETCH_CLIENTS", "cnry,"},
		{"PREFETCH_CLIENTS", "cnry/*"},
		{"PREFETCH_CLIENTS", clientList(101)},
		{"WEB_IDENTITY_AUDIENCES", "cnry,,b"},
		{"WEB_IDENTITY_AUDIENCES", "cnry " + strings.Repeat("x", 1001)},
		{"METRICS_NAMESPACE", "cnry cnry"},
		{"METRICS_NAMESPACE", strings.Repeat("x", 256)},
		{"EXCHANGE_RATES", "cnry"},
		{"EXCHANGE_RATES", "cnry.example=100,"},
		{"EXCHANGE_RATES", "cnry.example=7777"},
		{"EVENT_BUS_NAME", "cnry bus"},
		{"DEAD_LETTER_QUEUE_URL", "cnry"},
		{"DEAD_LETTER_QUEUE_URL", "file:///cnry"},
		{"MAX_RECEIVES", "-77"},
		{"MAX_RECEIVES", "77777"},
		{"MAX_RECEIVES", "cnry"},
		{"EGRESS_PROXY", "cnry.example:3128"},
		{"EGRESS_PROXY", "http://cnry-user:cnry%zz@cnry.example:3128"},
		{"EGRESS_PROXY", "http://cnry-user:cnry-password@cnry.example"},
		{"LOG_LEVEL", "cnry"},
		{"ALLOW_PRIVATE_ENDPOINTS", "yes"},
		{"ALLOW_PRIVATE_ENDPOINTS", "cnry.example"},
		{"ALLOW_PRIVATE_ENDPOINTS", "192.0.2.1"},
		{"ALLOW_PRIVATE_ENDPOINTS", "192.0.2.0/24,"},
	} {
		_, err := readEnvironment(getenv(map[string]string{test.name: test.value}))
		if err == nil {
			t.Errorf("%s=%s: got no error, want one", test.name, test.value)
			continue
		}
		if !strings.Contains(err.Error(), test.name) || strings.Contains(err.Error(), test.value) || strings.Contains(err.Error(), "cnry") {
			t.Errorf("%s=%s: got error %q, want the name in it and not the value", test.name, test.value, err)
		}
	}
}

// clientList returns a comma-separated list of n client names.
func clientList(n int) string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint("cnry-", i)
	}
	return strings.Join(names, ",")
}

// TestEnvironmentRefusesCombinations tests variables that are valid alone, but not together.
func TestEnvironmentRefusesCombinations(t *testing.T) {
	for _, test := range []struct {
		want      string
		variables map[string]string
	}{
		{"SCHEDULE_ALIAS must be set together", map[string]string{"QUEUE_ALIAS": "queue", "BUS_ALIAS": "bus"}},
		{"SCHEDULE_ALIAS must differ", map[string]string{"QUEUE_ALIAS": "queue", "BUS_ALIAS": "bus", "SCHEDULE_ALIAS": "queue"}},
		// Without a key, a reader of the table would find tokens.
		{"CACHE_KMS_KEY_ID", map[string]string{"CACHE_TABLE": "cnry"}},
		{"URL_ALIAS", map[string]string{"URL_ALIAS": "cnry", "HTTP_ALIAS": "cnry"}},
		{"POLICY_SECRET_ID is not", map[string]string{"POLICY_MODE": "document", "POLICY_SECRET_ID": "cnry*"}},
		{"POLICY_SECRET_ID is not", map[string]string{"POLICY_MODE": "document", "POLICY_SECRET_ID": strings.Repeat("cnry", 129)}},
		{"POLICY_SECRET_ID must not", map[string]string{"POLICY_MODE": "document", "POLICY_SECRET_ID": "token-vendor/clients/cnry"}},
		{"POLICY_SECRET_ID must not", map[string]string{"POLICY_MODE": "document", "CLIENT_SECRET_PREFIX": "token-vendor/"}},
	} {
		_, err := readEnvironment(getenv(test.variables))
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "cnry") {
			t.Errorf("%v: got error %v, want %s without a value", test.variables, err, test.want)
		}
	}
	env, err := readEnvironment(getenv(map[string]string{
		"CACHE_TABLE": "cnry", "CACHE_KMS_KEY_ID": "alias/cnry", "POLICY_MODE": "document", "POLICY_SECRET_ID": "cnry/policy",
	}))
	if err != nil || env.CacheTable != "cnry" || env.CacheKeyID != "alias/cnry" || env.PolicySecretID != "cnry/policy" {
		t.Errorf("got %+v, error %v; want the values", env, err)
	}
}

// TestEnvironmentReportsAllProblems proves that one deployment shows all problems.
func TestEnvironmentReportsAllProblems(t *testing.T) {
	bad := map[string]string{"CLIENT_SECRET_PREFIX": "cnry?", "POLICY_MODE": "cnry", "LOG_LEVEL": "cnry", "ALLOW_PRIVATE_ENDPOINTS": "cnry"}
	_, err := readEnvironment(getenv(bad))
	if err == nil {
		t.Fatal("got no error, want one")
	}
	for name := range bad {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("got error %q, want %s in it", err, name)
		}
	}
	if strings.Contains(err.Error(), "cnry") {
		t.Errorf("got error %q, want no value in it", err)
	}
}

func TestEnvironmentPrintsNoSecret(t *testing.T) {
	env, err := readEnvironment(getenv(map[string]string{"ENVELOPE_PROOF": "cnry-proof", "EGRESS_PROXY": "http://cnry-user:cnry-password@proxy.example:3128"}))
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, value := range []any{env, &env, env.Addresses} {
			if text := fmt.Sprintf(verb, value); strings.Contains(text, "cnry") || strings.Contains(text, "Y25ye") {
				t.Errorf("%s of %T: got a secret, want none", verb, value)
			}
		}
	}
}

func TestEnvironmentHasAnAliasForEachSource(t *testing.T) {
	env, err := readEnvironment(getenv(map[string]string{"QUEUE_ALIAS": "queue", "BUS_ALIAS": "bus", "SCHEDULE_ALIAS": "schedule"}))
	if err != nil || env.SourceAliases[audit.SQS] != "queue" || env.SourceAliases[audit.Bus] != "bus" || env.SourceAliases[audit.Schedule] != "schedule" {
		t.Errorf("got %v, %v; want an alias for each source", env.SourceAliases, err)
	}
}
