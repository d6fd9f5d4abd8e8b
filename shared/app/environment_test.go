package app

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"tokenvendor/shared/oauth"
)

// getenv reads variables from a map.
func getenv(variables map[string]string) func(string) string {
	return func(name string) string { return variables[name] }
}

func TestDefaults(t *testing.T) {
	env, err := readEnvironment(getenv(nil))
	if err != nil {
		t.Fatal(err)
	}
	if env.ClientSecretPrefix != "token-vendor/clients/" || !env.EnvelopeProof.IsZero() || env.HTTPAlias != "" || env.SourcesAlias != "" || env.SAMLocal ||
		env.Addresses.Private || env.Addresses.Prefixes != nil || env.LogLevel != slog.LevelInfo {
		t.Errorf("the defaults are %+v", env)
	}
}

func TestEnvironment(t *testing.T) {
	for _, test := range []struct {
		name, value string
		ok          func(Environment) bool
	}{
		{"CLIENT_SECRET_PREFIX", "a/B_1+=.@-/", func(e Environment) bool { return e.ClientSecretPrefix == "a/B_1+=.@-/" }},
		{"ENVELOPE_PROOF", "x y", func(e Environment) bool { return e.EnvelopeProof.Expose() == "x y" }},
		{"HTTP_ALIAS", "http", func(e Environment) bool { return e.HTTPAlias == "http" }},
		{"SOURCES_ALIAS", "sources", func(e Environment) bool { return e.SourcesAlias == "sources" }},
		{"AWS_SAM_LOCAL", "true", func(e Environment) bool { return e.SAMLocal }},
		{"AWS_SAM_LOCAL", "1", func(e Environment) bool { return !e.SAMLocal }},
		{"POLICY_MODE", "iam", func(Environment) bool { return true }},
		{"CACHE_KMS_KEY_ID", "alias/x", func(e Environment) bool { return e.CacheKeyID == "alias/x" && e.CacheTable == "" }},
		{"METRICS_NAMESPACE", "Team/Tokens", func(e Environment) bool { return e.MetricsNamespace == "Team/Tokens" }},
		{"METRICS_NAMESPACE", "", func(e Environment) bool { return e.MetricsNamespace == "TokenVendor" }},
		{"PREFETCH_CLIENTS", "", func(e Environment) bool { return e.PrefetchClients == nil }},
		{"PREFETCH_CLIENTS", "billing, payroll,billing", func(e Environment) bool { return fmt.Sprint(e.PrefetchClients) == "[billing payroll]" }},
		{"EVENT_BUS_NAME", "arn:aws:events:eu-central-1:111122223333:event-bus/tokens", func(e Environment) bool { return strings.HasSuffix(e.EventBus, "/tokens") }},
		{"DEAD_LETTER_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/111122223333/dead", func(e Environment) bool { return strings.HasSuffix(e.DeadLetterQueue, "/dead") }},
		{"MAX_RECEIVES", "", func(e Environment) bool { return e.MaxReceives == 5 }},
		{"MAX_RECEIVES", "1000", func(e Environment) bool { return e.MaxReceives == 1000 }},
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
			t.Errorf("%s=%s: %+v, %v", test.name, test.value, env, err)
		}
	}
}

// TestBadEnvironment: each is a problem of its own that names the variable.
func TestBadEnvironment(t *testing.T) {
	for _, test := range []struct{ name, value string }{
		{"CLIENT_SECRET_PREFIX", "cnry*/"},
		{"CLIENT_SECRET_PREFIX", "cnry clients/"},
		{"CLIENT_SECRET_PREFIX", "arn:aws:secretsmanager:eu-central-1:111122223333:secret:cnry/"},
		// To take a mode that this build doesn't know for the default would allow
		// what the operator wants denied.
		{"POLICY_MODE", "IAM"},
		{"POLICY_MODE", "cnry"},
		{"PREFETCH_CLIENTS", "billing,Cnry"},
		{"PREFETCH_CLIENTS", "cnry,"},
		{"PREFETCH_CLIENTS", "cnry/*"},
		{"METRICS_NAMESPACE", "cnry cnry"},
		{"EVENT_BUS_NAME", "cnry bus"},
		{"DEAD_LETTER_QUEUE_URL", "cnry"},
		{"DEAD_LETTER_QUEUE_URL", "file:///cnry"},
		{"MAX_RECEIVES", "-77"},
		{"MAX_RECEIVES", "77777"},
		{"MAX_RECEIVES", "cnry"},
		{"LOG_LEVEL", "cnry"},
		{"ALLOW_PRIVATE_ENDPOINTS", "yes"},
		{"ALLOW_PRIVATE_ENDPOINTS", "cnry.example"},
		{"ALLOW_PRIVATE_ENDPOINTS", "192.0.2.1"},
		{"ALLOW_PRIVATE_ENDPOINTS", "192.0.2.0/24,"},
	} {
		_, err := readEnvironment(getenv(map[string]string{test.name: test.value}))
		if err == nil {
			t.Errorf("%s=%s was accepted", test.name, test.value)
			continue
		}
		if !strings.Contains(err.Error(), test.name) || strings.Contains(err.Error(), test.value) || strings.Contains(err.Error(), "cnry") {
			t.Errorf("%s=%s: %q must name the variable and not repeat its value", test.name, test.value, err)
		}
	}
}

// TestTableNeedsKey: without one, whoever reads the table would read tokens.
func TestTableNeedsKey(t *testing.T) {
	table := map[string]string{"CACHE_TABLE": "cnry"}
	if _, err := readEnvironment(getenv(table)); err == nil || !strings.Contains(err.Error(), "CACHE_KMS_KEY_ID") || strings.Contains(err.Error(), "cnry") {
		t.Errorf("error %v", err)
	}
	table["CACHE_KMS_KEY_ID"] = "alias/cnry"
	if env, err := readEnvironment(getenv(table)); err != nil || env.CacheTable != "cnry" || env.CacheKeyID != "alias/cnry" {
		t.Errorf("%+v, %v", env, err)
	}
}

// TestAllProblemsTogether: an operator shall not need a deployment for each.
func TestAllProblemsTogether(t *testing.T) {
	bad := map[string]string{"CLIENT_SECRET_PREFIX": "cnry?", "POLICY_MODE": "cnry", "LOG_LEVEL": "cnry", "ALLOW_PRIVATE_ENDPOINTS": "cnry"}
	_, err := readEnvironment(getenv(bad))
	if err == nil {
		t.Fatal("accepted")
	}
	for name := range bad {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q doesn't name %s", err, name)
		}
	}
	if strings.Contains(err.Error(), "cnry") {
		t.Error("the error repeats a value")
	}
}

// TestEnvironmentPrintsNoProof: somebody may print it one day.
func TestEnvironmentPrintsNoProof(t *testing.T) {
	env := Environment{EnvelopeProof: oauth.NewSecret("cnry-proof")}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if strings.Contains(fmt.Sprintf(verb, env), "cnry") {
			t.Errorf("%s shows the proof", verb)
		}
	}
}
