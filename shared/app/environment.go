package app

import (
	"errors"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"

	"tokenvendor/shared/oauth"
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
	// SAMLocal says that the SAM CLI runs the function on a developer's machine,
	// where events have neither identity nor proof.
	SAMLocal bool
	// Addresses are those that authorization servers may have.
	Addresses oauth.AddressPolicy
	// LogLevel is the least level that is logged.
	LogLevel slog.Level
}

const defaultPrefix = "token-vendor/clients/"

// readEnvironment returns all problems at once, each naming its variable and
// never its value.
func readEnvironment(getenv func(string) string) (Environment, error) {
	env := Environment{
		ClientSecretPrefix: getenv("CLIENT_SECRET_PREFIX"),
		EnvelopeProof:      oauth.NewSecret(getenv("ENVELOPE_PROOF")),
		HTTPAlias:          getenv("HTTP_ALIAS"),
		SAMLocal:           getenv("AWS_SAM_LOCAL") == "true",
	}
	if env.ClientSecretPrefix == "" {
		env.ClientSecretPrefix = defaultPrefix
	}
	var problems []error
	if strings.ContainsFunc(env.ClientSecretPrefix, notNameByte) {
		problems = append(problems, errors.New("CLIENT_SECRET_PREFIX holds characters that no secret's name has"))
	}
	if mode := getenv("POLICY_MODE"); mode != "" && mode != "iam" {
		// To go on would be to allow what the operator wants denied.
		problems = append(problems, errors.New("POLICY_MODE must be iam"))
	}
	var err error
	if env.Addresses, err = addressPolicy(getenv("ALLOW_PRIVATE_ENDPOINTS")); err != nil {
		problems = append(problems, err)
	}
	if level := getenv("LOG_LEVEL"); level != "" {
		if err := env.LogLevel.UnmarshalText([]byte(level)); err != nil {
			problems = append(problems, errors.New("LOG_LEVEL must be debug, info, warn or error"))
		}
	}
	return env, errors.Join(problems...)
}

// notNameByte is true for what AWS allows in no secret's name.
func notNameByte(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("/_+=.@-", r)
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
