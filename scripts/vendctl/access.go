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
	"github.com/aws/aws-sdk-go-v2/service/sts"
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
	local, as       string
	output          string
	quiet, verbose  bool
}

func (a *access) addFlags(flags *pflag.FlagSet) {
	flags.StringSliceVar(&a.urls, "api", nil, "URL of the vendor, the stack's output TokenUrl; several are used in turn when one fails (default: $TOKEN_URL)")
	flags.StringVar(&a.profile, "profile", "", "profile of the AWS configuration")
	flags.StringVar(&a.region, "region", "", "AWS region, if the URL does not name it")
	flags.StringVar(&a.local, "local", "", "the file that the local stack writes with -json")
	flags.StringVar(&a.as, "as", "", "with --local, the principal by its ARN or its last part; else the ARN of a role to assume")
	flags.StringVarP(&a.output, "output", "o", "table", "table or json")
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "print results and errors only")
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "say what is done")
}

// stack is what this program reads of the local stack's file.
type stack struct {
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

func (a *access) readStack() (*stack, error) {
	text, err := os.ReadFile(a.local)
	if err != nil {
		return nil, fmt.Errorf("--local: %w", err)
	}
	s := &stack{}
	if json.Unmarshal(text, s) != nil || s.TokenURL == "" || len(s.Principals) == 0 {
		return nil, usage("--local: %s is not the file that the local stack writes with -json", a.local)
	}
	return s, nil
}

// open returns the vendor's client.
func (a *access) open(ctx context.Context) (*client.Client, error) {
	if a.output != "table" && a.output != "json" {
		return nil, usage("--output must be table or json")
	}
	if a.local != "" {
		return a.openLocal()
	}
	urls := a.urls
	if len(urls) == 0 && os.Getenv("TOKEN_URL") != "" {
		urls = []string{os.Getenv("TOKEN_URL")}
	}
	if len(urls) == 0 {
		return nil, usage("which vendor? Give --api (the stack's output TokenUrl), or --local with the file of the local stack")
	}
	options := []func(*config.LoadOptions) error{config.WithSharedConfigProfile(a.profile)}
	if a.region != "" {
		options = append(options, config.WithRegion(a.region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, errors.New("the AWS configuration cannot be read: " + a.profile)
	}
	if a.as != "" {
		if !strings.Contains(a.as, ":role/") {
			return nil, usage("--as must be the ARN of a role, or a principal of --local")
		}
		cfg.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), a.as))
	}
	return newClient(client.Config{URLs: urls, AWS: cfg})
}

func newClient(cfg client.Config) (*client.Client, error) {
	c, err := client.New(cfg)
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

func (a *access) openLocal() (*client.Client, error) {
	if len(a.urls) > 0 {
		return nil, usage("--api and --local are both given")
	}
	s, err := a.readStack()
	if err != nil {
		return nil, err
	}
	for _, p := range s.Principals {
		if a.as == "" || p.ARN == a.as || slices.Contains(strings.Split(p.ARN, "/")[1:], a.as) {
			return newClient(client.Config{URLs: []string{s.TokenURL}, AWS: aws.Config{
				Region: s.Region, Credentials: credentials.NewStaticCredentialsProvider(p.AccessKeyID, p.SecretAccessKey, p.SessionToken),
			}})
		}
	}
	return nil, fmt.Errorf("--as: %w: the local stack has no such principal", errNotFound)
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
