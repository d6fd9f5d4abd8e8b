package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tokenvendor/shared/client"
)

// errNotFound means that something that the command line names does not exist.
var errNotFound = errors.New("not found")

// access is how the vendor is reached, as the flags say.
type access struct {
	urls            []string
	profile, region string
	stack           string
	local, as       string
	output          string
	quiet, verbose  bool
}

func (a *access) addFlags(flags *pflag.FlagSet) {
	flags.StringSliceVar(&a.urls, "api", nil, "URL of the vendor, the stack's output TokenUrl; several are used in turn when one fails (default: $TOKEN_URL)")
	flags.StringVar(&a.profile, "profile", "", "profile of the AWS configuration")
	flags.StringVar(&a.region, "region", "", "AWS region, if the URL does not name it")
	flags.StringVar(&a.stack, "stack", "", "name of the CloudFormation stack whose output TokenUrl is the URL")
	flags.StringVar(&a.local, "local", "", "the file that the local stack writes with -json")
	flags.StringVar(&a.as, "as", "", "with --local, the principal by its ARN or its last part; else the ARN of a role to assume")
	flags.StringVarP(&a.output, "output", "o", "table", "table or json")
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "print results and errors only")
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "say what is done")
}

// localStack is what this program reads of the local stack's file.
type localStack struct {
	Region     string `json:"region"`
	TokenURL   string `json:"token_url"`
	Principals []struct {
		ARN             string `json:"arn"`
		AccessKeyID     string `json:"access_key_id"`
		SecretAccessKey string `json:"secret_access_key"`
		SessionToken    string `json:"session_token"`
	} `json:"principals"`
	Clients []struct {
		Name string `json:"name"`
	} `json:"clients"`
}

func (a *access) readStack() (*localStack, error) {
	text, err := os.ReadFile(a.local)
	if err != nil {
		return nil, fmt.Errorf("--local: %w", err)
	}
	s := &localStack{}
	if json.Unmarshal(text, s) != nil || s.TokenURL == "" || len(s.Principals) == 0 {
		return nil, usage("--local: %s is not the file that the local stack writes with -json", a.local)
	}
	return s, nil
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
func (a *access) config(ctx context.Context) (cfg client.Config, err error) {
	if a.output != "table" && a.output != "json" {
		return cfg, usage("--output must be table or json")
	}
	if a.local != "" {
		return a.localConfig()
	}
	if cfg.URLs, err = a.givenURLs(); err != nil {
		return cfg, err
	}
	options := []func(*config.LoadOptions) error{config.WithSharedConfigProfile(a.profile)}
	if a.region != "" {
		options = append(options, config.WithRegion(a.region))
	}
	if cfg.AWS, err = config.LoadDefaultConfig(ctx, options...); err != nil {
		return cfg, errors.New("the AWS configuration cannot be read, or has no profile of this name")
	}
	if a.as != "" {
		if !strings.Contains(a.as, ":role/") {
			return cfg, usage("--as must be the ARN of a role, or a principal of --local")
		}
		cfg.AWS.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg.AWS), a.as))
	}
	if a.stack != "" {
		cfg.URLs, err = outputOf(ctx, cfg.AWS, a.stack)
	}
	return cfg, err
}

// givenURLs returns the URLs of the flags or of the environment; none: those of the stack count.
func (a *access) givenURLs() ([]string, error) {
	url := os.Getenv("TOKEN_URL")
	switch {
	case len(a.urls) > 0 && a.stack != "":
		return nil, usage("--api and --stack are both given")
	case len(a.urls) > 0 || a.stack != "":
		return a.urls, nil
	case url != "":
		return []string{url}, nil
	}
	return nil, usage("which vendor? Give --stack, --api (the stack's output TokenUrl), or --local with the file of the local stack")
}

// outputOf returns the output TokenUrl of a stack.
func outputOf(ctx context.Context, cfg aws.Config, stack string) ([]string, error) {
	out, err := cloudformation.NewFromConfig(cfg).DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &stack})
	var failure smithy.APIError
	switch {
	case errors.As(err, &failure) && failure.ErrorCode() == "ValidationError":
		return nil, fmt.Errorf("--stack: %w: there is no such stack in this account and region", errNotFound)
	case errors.As(err, &failure):
		return nil, errors.New("--stack: CloudFormation answers " + failure.ErrorCode() + ": the URL can be given as --api instead")
	case err != nil:
		return nil, errors.New("--stack: CloudFormation cannot be asked: check the credentials and the network")
	}
	for _, found := range out.Stacks {
		for _, output := range found.Outputs {
			if aws.ToString(output.OutputKey) == "TokenUrl" {
				return []string{aws.ToString(output.OutputValue)}, nil
			}
		}
	}
	return nil, fmt.Errorf("--stack: %w: the stack has no output TokenUrl, so that it is no token vendor", errNotFound)
}

func (a *access) localConfig() (cfg client.Config, err error) {
	if len(a.urls) > 0 || a.stack != "" {
		return cfg, usage("--local and --api or --stack are both given")
	}
	s, err := a.readStack()
	if err != nil {
		return cfg, err
	}
	for _, p := range s.Principals {
		if a.as == "" || p.ARN == a.as || slices.Contains(strings.Split(p.ARN, "/")[1:], a.as) {
			return client.Config{URLs: []string{s.TokenURL}, AWS: aws.Config{
				Region: s.Region, Credentials: credentials.NewStaticCredentialsProvider(p.AccessKeyID, p.SecretAccessKey, p.SessionToken),
			}}, nil
		}
	}
	return cfg, fmt.Errorf("--as: %w: the local stack has no such principal", errNotFound)
}

// complete proposes the clients of the local stack.
func (a *access) complete(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if a.local == "" || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	s, err := a.readStack()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, c := range s.Clients {
		names = append(names, c.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
