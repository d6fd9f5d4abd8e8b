// Command samlocal runs "sam local" against the local stack that is running. scripts/sam
// calls it with the command line of SAM CLI.
//
// SAM CLI runs functions in containers, which do not reach the host's loopback. While SAM CLI
// runs, this program therefore listens where containers do, as host.docker.internal: for
// calls of AWS, and as a proxy for the authorization server, so that its address and its
// certificate are the same on both sides. Only requests with this run's credentials are
// forwarded. SAM CLI sets the functions' variables from a file (--env-vars), and only those
// that the template declares.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"tokenvendor/scripts/local/workdir"
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "scripts/sam:", err)
	}
	os.Exit(code)
}

// description has what is needed of a stack's description.
type description struct {
	Region         string `json:"region"`
	AWSURL         string `json:"aws_url"`
	Prefix         string `json:"client_secret_prefix"`
	Table          string `json:"cache_table"`
	Key            string `json:"cache_kms_key_id"`
	Bus            string `json:"event_bus"`
	DeadLettersURL string `json:"dead_letter_queue_url"`
	Issuer         string `json:"issuer"`
	PolicyMode     string `json:"policy_mode"`
	PolicySecret   string `json:"policy_secret"`
}

// run runs SAM CLI and returns its exit code.
func run(arguments []string) (int, error) {
	stacks := workdir.Running()
	if len(stacks) == 0 || !invokes(arguments) {
		if len(stacks) == 0 {
			fmt.Fprintln(os.Stderr, "scripts/sam: no local stack is running, so that the functions call AWS; to give them one, run in another window: go run ./scripts/local")
		}
		return sam(context.Background(), arguments, os.Environ())
	}
	text, err := os.ReadFile(stacks[len(stacks)-1])
	if err != nil {
		return 1, err
	}
	var d description
	if err := json.Unmarshal(text, &d); err != nil {
		return 1, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// SAM CLI gets an interrupt from the terminal, too, and stops its containers. It would
	// inherit an ignored signal.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	// The go command that runs this program does not pass on that it was terminated.
	ctx = workdir.WithParent(ctx, os.Getppid())
	c := credentials{accessKeyID: "ASIA" + rand.Text()[:16], secret: rand.Text()}
	listening, err := c.listen(d)
	if err != nil {
		return 1, err
	}
	defer listening.close()
	// The next start of the stack deletes the directory if this program is killed.
	directory, err := workdir.New()
	if err != nil {
		return 1, err
	}
	defer func() { _ = directory.Remove() }()
	file := filepath.Join(directory.Path(), "env.json")
	if text, err = json.MarshalIndent(variables(d, listening), "", "  "); err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		return 1, err
	}
	fmt.Fprintln(os.Stderr, "scripts/sam: the functions use the local stack in", filepath.Dir(stacks[len(stacks)-1]))
	return sam(ctx, addOptions(arguments, file), c.environment(d.Region))
}

// invokes reports whether SAM CLI runs functions.
func invokes(arguments []string) bool {
	return len(arguments) > 1 && arguments[0] == "local" && slices.Contains([]string{"invoke", "start-api", "start-lambda"}, arguments[1]) &&
		!slices.Contains(arguments, "--help") && !slices.Contains(arguments, "-h")
}

// containerHost is the name of the host in a container.
const containerHost = "host.docker.internal"

// addOptions adds the options by which SAM CLI's containers find the stack. Options of the
// caller are kept.
func addOptions(arguments []string, file string) []string {
	has := func(name string) bool {
		return slices.ContainsFunc(arguments, func(a string) bool { return a == name || strings.HasPrefix(a, name+"=") })
	}
	if !has("--env-vars") && !has("-n") {
		arguments = append(arguments, "--env-vars", file)
	}
	// Docker Desktop defines the name by itself.
	if runtime.GOOS == "linux" && !has("--add-host") {
		arguments = append(arguments, "--add-host", containerHost+":host-gateway")
	}
	return arguments
}

// variables returns the file for --env-vars: the variables of each function.
func variables(d description, l *listening) map[string]map[string]string {
	common := map[string]string{
		"AWS_ENDPOINT_URL": l.awsURL, "EGRESS_PROXY": l.proxyURL, "ALLOW_PRIVATE_ENDPOINTS": "true",
		// The template's is the name of the stack, which SAM CLI calls "local".
		"NAME_PREFIX":          strings.TrimSuffix(d.Prefix, "/clients/"),
		"CLIENT_SECRET_PREFIX": d.Prefix, "CACHE_TABLE": d.Table, "CACHE_KMS_KEY_ID": d.Key, "WEB_IDENTITY_AUDIENCES": d.Issuer,
		"POLICY_MODE": d.PolicyMode, "POLICY_SECRET_ID": d.PolicySecret,
	}
	batch := maps.Clone(common)
	batch["EVENT_BUS_NAME"] = d.Bus
	if queue, err := url.Parse(d.DeadLettersURL); err == nil {
		batch["DEAD_LETTER_QUEUE_URL"] = l.awsURL + queue.Path
	}
	return map[string]map[string]string{"TokenFunction": common, "BatchFunction": batch}
}

// sam runs SAM CLI.
func sam(ctx context.Context, arguments, env []string) (int, error) {
	cmd := exec.CommandContext(ctx, "sam", arguments...) // #nosec G204 G702 -- the caller's own command line
	cmd.Env = env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}
