package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/spf13/pflag"

	"tokenvendor/shared/client"
)

// errNotFound means that something that the command line names does not exist.
var errNotFound = errors.New("not found")

// directAlias follows the ARN of the function in that of the alias for direct invokes.
const directAlias = ":direct"

// access is how the vendor is reached, as the flags say.
type access struct {
	urls            []string
	profile, region string
	stack           string
	local, as       string
	// named is what has named the stack if no flag did: the variable.
	named          string
	direct         bool
	output         string
	quiet, verbose bool
	log            *slog.Logger // nil: without verbose
}

const (
	// stackVariable names the vendor if no flag does: a stack, or the file of a local one. Names of
	// stacks have no dot.
	stackVariable = "TOKEN_STACK"
	localSuffix   = ".json"
)

// readVariable takes the vendor from the environment if no flag names it. Commands for operators
// need a stack, so that its variable goes before TOKEN_URL: get and freeze must not work on
// different vendors.
func (a *access) readVariable() {
	value := os.Getenv(stackVariable)
	if value == "" || a.stack != "" || a.local != "" || len(a.urls) > 0 {
		return
	}
	a.named = stackVariable
	if strings.HasSuffix(value, localSuffix) {
		a.local = value
	} else {
		a.stack = value
	}
}

// check reports mistakes in the flags that all commands have.
func (a *access) check() error {
	switch {
	case a.output != "table" && a.output != "json":
		return usage("--output must be table or json")
	case a.local != "" && (len(a.urls) > 0 || a.stack != ""):
		return usage("--local and --api or --stack are both given")
	case len(a.urls) > 0 && a.stack != "":
		return usage("--api and --stack are both given")
	}
	return nil
}

// namedBy is what an error about the stack begins with.
func (a *access) namedBy() string {
	switch {
	case a.named != "":
		return a.named
	case a.local != "":
		return "--local"
	}
	return "--stack"
}

// errNoStack is the mistake of a command that needs a stack.
func errNoStack(question string) error {
	return usage("%s Give --stack, or --local with the file of the local stack, or set %s to one of them", question, stackVariable)
}

func (a *access) addFlags(flags *pflag.FlagSet) {
	flags.StringSliceVar(&a.urls, "api", nil, "URL of the vendor, the stack's output TokenUrl; several are used in turn when one fails (default: $TOKEN_STACK, then $TOKEN_URL)")
	flags.StringVar(&a.profile, "profile", "", "profile of the AWS configuration")
	flags.StringVar(&a.region, "region", "", "AWS region, if the URL does not name it")
	flags.StringVar(&a.stack, "stack", "", "name of the CloudFormation stack whose output TokenUrl is the URL (default: $"+stackVariable+", unless it ends in "+localSuffix+")")
	flags.StringVar(&a.local, "local", "", "the file that the local stack writes with -json (default: $"+stackVariable+", if it ends in "+localSuffix+")")
	flags.StringVar(&a.as, "as", "", "with --local, the principal by its ARN or its last part; else the ARN of a role to assume")
	flags.BoolVar(&a.direct, "direct", false, "invoke the function of --stack or --local, without the API; --api takes the ARN of the function's alias direct")
	flags.StringVarP(&a.output, "output", "o", "table", "table or json")
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "print results and errors only")
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "say what is called, and how long it takes")
}

// localStack is what this program reads of the local stack's file.
type localStack struct {
	Region       string `json:"region"`
	Account      string `json:"account"`
	TokenURL     string `json:"token_url"`
	LambdaURL    string `json:"lambda_url"`
	FunctionName string `json:"function_name"`
	BatchURL     string `json:"batch_lambda_url"`
	BatchName    string `json:"batch_function_name"`
	Log          string `json:"log"`
	AWSURL       string `json:"aws_url"`
	PolicyMode   string `json:"policy_mode"`
	PolicySecret string `json:"policy_secret"`
	DeadLetters  string `json:"dead_letter_queue_url"`
	Orders       string `json:"orders_queue_url"`

	ClientSecretPrefix string `json:"client_secret_prefix"`

	Principals []struct {
		ARN             string `json:"arn"`
		AccessKeyID     string `json:"access_key_id"`
		SecretAccessKey string `json:"secret_access_key"`
		SessionToken    string `json:"session_token"`
	} `json:"principals"`
	Clients []struct {
		Name string `json:"name"`
	} `json:"clients"`

	credentials aws.CredentialsProvider // of the principal that --as names, or of the first one
}

// functionARN returns the ARN of a function without an alias.
func (s *localStack) functionARN(name string) string {
	return "arn:aws:lambda:" + s.Region + ":" + s.Account + ":function:" + name
}

func (a *access) readStack() (*localStack, error) {
	text, err := os.ReadFile(a.local)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.namedBy(), err)
	}
	s := &localStack{}
	if json.Unmarshal(text, s) != nil || s.TokenURL == "" || len(s.Principals) == 0 {
		return nil, usage("%s: %s is not the file that the local stack writes with -json", a.namedBy(), a.local)
	}
	for _, p := range s.Principals {
		if a.as == "" || p.ARN == a.as || slices.Contains(strings.Split(p.ARN, "/")[1:], a.as) {
			s.credentials = credentials.NewStaticCredentialsProvider(p.AccessKeyID, p.SecretAccessKey, p.SessionToken)
			return s, nil
		}
	}
	return nil, fmt.Errorf("--as: %w: the local stack has no such principal", errNotFound)
}

// aws returns the configuration of the local doubles of AWS's services.
func (s *localStack) aws() aws.Config {
	return aws.Config{Region: s.Region, BaseEndpoint: &s.AWSURL, HTTPClient: sdkClient{awshttp.NewBuildableClient()}, Credentials: s.credentials}
}

// sdkClient sends requests of the AWS SDK. The SDK closes the request's body as soon as there is a
// response, upon which net/http may close the connection in the middle of a response that is longer
// than its buffer. Then the SDK repeats the call. So the request gets a body that the SDK does not know,
// as in package awsapi, whose client has limits that fit the functions only.
type sdkClient struct{ aws.HTTPClient }

// Do implements [aws.HTTPClient].
func (c sdkClient) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r = r.WithContext(r.Context()) // a shallow copy
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	return c.HTTPClient.Do(r)
}

// open returns the vendor's client.
func (a *access) open(ctx context.Context) (*client.Client, error) {
	cfg, err := a.config(ctx)
	if err != nil {
		return nil, err
	}
	c, err := client.New(cfg)
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

// config returns the configuration of the vendor's client.
func (a *access) config(ctx context.Context) (client.Config, error) {
	cfg, err := a.target(ctx)
	cfg.Log = a.log
	return cfg, err
}

// target returns the configuration without the log.
func (a *access) target(ctx context.Context) (cfg client.Config, err error) {
	if a.local != "" {
		return a.localConfig()
	}
	if cfg.URLs, err = a.givenURLs(); err != nil {
		return cfg, err
	}
	if cfg.AWS, err = a.aws(ctx); err != nil || a.stack == "" {
		return cfg, err
	}
	name, suffix := "TokenUrl", ""
	if a.direct {
		name, suffix = "FunctionArn", directAlias
	}
	value, err := a.outputOf(ctx, cfg.AWS, name)
	cfg.URLs = []string{value + suffix}
	return cfg, err
}

// aws returns the configuration of AWS's services.
func (a *access) aws(ctx context.Context) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{config.WithSharedConfigProfile(a.profile)}
	if a.region != "" {
		options = append(options, config.WithRegion(a.region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	var noCode config.AssumeRoleTokenProviderNotSetError
	switch {
	case errors.As(err, &noCode):
		return cfg, errors.New("the profile needs a code of MFA (mfa_serial), which vendctl does not ask for: use a session that has one, for example by eval \"$(aws configure export-credentials --profile NAME --format env)\"")
	case err != nil:
		return cfg, errors.New("the AWS configuration cannot be read, or has no profile of this name")
	}
	if cfg.HTTPClient == nil { // AWS_CA_BUNDLE is not set
		cfg.HTTPClient = awshttp.NewBuildableClient()
	}
	cfg.HTTPClient = sdkClient{cfg.HTTPClient}
	if a.as != "" {
		if !strings.Contains(a.as, ":role/") {
			return cfg, usage("--as must be the ARN of a role, or a principal of --local")
		}
		cfg.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), a.as))
	}
	return cfg, nil
}

// givenURLs returns the URLs of the flags or of the environment; none: those of the stack count.
func (a *access) givenURLs() ([]string, error) {
	url := os.Getenv("TOKEN_URL")
	switch {
	case a.direct && a.stack == "":
		return nil, usage("--direct needs --stack or --local; without them give --api the ARN of the function's alias direct")
	case len(a.urls) > 0 || a.stack != "":
		return a.urls, nil
	case url != "":
		return []string{url}, nil
	}
	return nil, usage("which vendor? Give --stack, --api (the stack's output TokenUrl), or --local with the file of the local stack, or set %s to one of them", stackVariable)
}

// missing returns the error of a stack that does not have something.
func (a *access) missing(format string, values ...any) error {
	return fmt.Errorf("%s: %w: the stack has no "+format, append([]any{a.namedBy(), errNotFound}, values...)...)
}

// outputOf returns an output of the stack.
func (a *access) outputOf(ctx context.Context, cfg aws.Config, name string) (string, error) {
	outputs, err := a.outputs(ctx, cfg)
	if err == nil && outputs[name] == "" {
		err = a.missing("output %s, so that it is no token vendor", name)
	}
	return outputs[name], err
}

// outputs returns the outputs of the stack by their names, and the parameters that have no output.
func (a *access) outputs(ctx context.Context, cfg aws.Config) (map[string]string, error) {
	if cfg.Region == "" {
		return nil, usage("%s: in which region is the stack? Give --region, or set AWS_REGION", a.namedBy())
	}
	out, err := cloudformation.NewFromConfig(cfg).DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &a.stack})
	var failure smithy.APIError
	switch {
	case errors.As(err, &failure) && failure.ErrorCode() == "ValidationError":
		return nil, fmt.Errorf("%s: %w: there is no such stack in this account and region", a.namedBy(), errNotFound)
	case errors.As(err, &failure) && slices.Contains([]string{"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch"}, failure.ErrorCode()):
		return nil, errors.New(a.namedBy() + ": CloudFormation answers " + failure.ErrorCode() + ": the AWS credentials have expired or are wrong: log in again")
	case errors.As(err, &failure):
		return nil, errors.New(a.namedBy() + ": CloudFormation answers " + failure.ErrorCode() + ": the URL can be given as --api instead")
	case err != nil:
		return nil, errors.New(a.namedBy() + ": CloudFormation cannot be asked: check the credentials and the network")
	}
	outputs := make(map[string]string)
	for _, found := range out.Stacks {
		for _, parameter := range found.Parameters {
			if name := aws.ToString(parameter.ParameterKey); name == "PolicySecret" || name == "WebIdentityAudiences" {
				outputs[name] = aws.ToString(parameter.ParameterValue)
			}
		}
		for _, output := range found.Outputs {
			outputs[aws.ToString(output.OutputKey)] = aws.ToString(output.OutputValue)
		}
	}
	return outputs, nil
}

func (a *access) localConfig() (cfg client.Config, err error) {
	s, err := a.readStack()
	if err != nil {
		return cfg, err
	}
	cfg = client.Config{URLs: []string{s.TokenURL}, AWS: aws.Config{Region: s.Region, BaseEndpoint: &s.LambdaURL, Credentials: s.credentials}}
	if a.direct {
		cfg.URLs = []string{s.functionARN(s.FunctionName) + directAlias}
	}
	return cfg, nil
}
