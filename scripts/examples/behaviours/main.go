// Command behaviours runs the table of behaviours of the libraries that call the vendor against
// the local stack: shared/client, or a library in another language by its driver. See README.md
// of scripts/examples.
//
//	go run ./scripts/examples/behaviours -local stack.json [DRIVER [ARGUMENT]...]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/credentials"
)

func main() {
	local := flag.String("local", "", "the file that the local stack writes with -json")
	table := flag.String("table", filepath.FromSlash("scripts/examples/behaviours.json"), "the table of behaviours")
	verbose := flag.Bool("v", false, "print the behaviours that are as they must be, too")
	name := flag.String("client", "demo", "the client; each run with one stack needs another, because the vendor limits new combinations of parameters")
	flag.Parse()
	if err := run(context.Background(), *local, *table, *name, flag.Args(), os.Stdout, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "behaviours:", err)
		os.Exit(1)
	}
}

// vendor is what this program reads of the local stack's file.
type vendor struct {
	Region     string `json:"region"`
	TokenURL   string `json:"token_url"`
	Principals []struct {
		AccessKeyID     string `json:"access_key_id"`
		SecretAccessKey string `json:"secret_access_key"`
		SessionToken    string `json:"session_token"`
	} `json:"principals"`
}

// run runs the table with the driver of these arguments; none: shared/client.
func run(ctx context.Context, local, table, client string, args []string, out io.Writer, verbose bool) (err error) {
	var v vendor
	var behaviours []behaviour
	if err := errors.Join(read(local, &v), read(table, &behaviours)); err != nil {
		return err
	}
	if len(v.Principals) == 0 {
		return errors.New("-local is not the file that the local stack writes with -json")
	}
	p := v.Principals[0]
	name := "shared/client"
	var d driver = &kit{credentials: credentials.NewStaticCredentialsProvider(p.AccessKeyID, p.SecretAccessKey, p.SessionToken)}
	if len(args) > 0 {
		name = strings.Join(args, " ")
		child, err := startProcess(ctx, args, []string{"AWS_ACCESS_KEY_ID=" + p.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + p.SecretAccessKey, "AWS_SESSION_TOKEN=" + p.SessionToken, "AWS_REGION="})
		if err != nil {
			return err
		}
		defer func() { _ = child.close() }()
		d = child
	}
	s, err := newStage(v.TokenURL)
	if err != nil {
		return err
	}
	defer s.close()
	failed := 0
	for i, b := range behaviours {
		r := &runner{stage: s, driver: d, client: client, scope: b.scope(i)}
		if err := r.run(ctx, b, v.Region); err != nil {
			failed++
			_, _ = fmt.Fprintf(out, "FAILED  %s\n        %v\n", b.Name, err)
		} else if verbose {
			_, _ = fmt.Fprintf(out, "ok      %s\n", b.Name)
		}
	}
	_, _ = fmt.Fprintf(out, "%s: %d behaviours, %d failed\n", name, len(behaviours), failed)
	if failed > 0 || len(behaviours) == 0 {
		return errors.New("not all behaviours are as they must be")
	}
	return nil
}

func read(file string, into any) error {
	text, err := os.ReadFile(file) //nolint:gosec // the user names it
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
