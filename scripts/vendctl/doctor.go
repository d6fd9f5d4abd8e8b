package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"runtime/debug"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"tokenvendor/shared/client"
)

// The clocks of AWS and of this machine may differ by maxSkew; from warnSkew on, doctor says so.
const (
	maxSkew  = 5 * time.Minute
	warnSkew = 30 * time.Second
)

// finding is what one check found.
type finding struct {
	Check  string `json:"check"`
	Result string `json:"result"` // ok, warning or failed
	Detail string `json:"detail"`
	Advice string `json:"advice,omitempty"`
}

func newDoctor(a *access) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor [CLIENT]",
		Short: "Check what a token needs, and say what to do",
		Long: "doctor checks the AWS credentials, the region, the name and the connection of the vendor, proxies and the clock. For a\n" +
			"client it also gets a token, which it does not print.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("got %d arguments, want the name of one client at most", len(args))
			}
			return clientNames(args)
		},
		ValidArgsFunction: a.complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			d := &doctor{}
			d.add("version", "ok", version(), "")
			err := d.open(cmd.Context(), a)
			if err == nil {
				err = d.examine(cmd.Context(), args)
			}
			if cmd.Context().Err() != nil || len(d.findings) == 1 || errors.As(err, new(usageError)) {
				return err
			}
			if err := d.print(cmd.OutOrStdout(), a.output, colored(cmd.OutOrStdout())); err != nil {
				return err
			}
			return err
		},
	}
}

// doctor collects findings.
type doctor struct {
	cfg      client.Config
	findings []finding
}

func (d *doctor) add(check, result, detail, advice string) {
	d.findings = append(d.findings, finding{check, result, detail, advice})
}

// errUnhealthy ends doctor if a check failed that is not the vendor's answer.
var errUnhealthy = errors.New("a check failed")

// open finds the vendor. CloudFormation does not say what is wrong with credentials, so that they are
// checked first.
func (d *doctor) open(ctx context.Context, a *access) (err error) {
	if a.stack == "" {
		d.cfg, err = a.config(ctx)
		return err
	}
	if d.cfg.AWS, err = a.aws(ctx); err != nil {
		d.add("credentials", "failed", err.Error(), "correct --profile, or the AWS configuration")
		return err
	}
	if !d.checkCredentials(ctx) {
		return errUnhealthy
	}
	cfg, err := a.config(ctx)
	if err != nil {
		d.add("stack", "failed", err.Error(), "check --stack, --region and the account of the credentials")
		return err
	}
	d.cfg, d.findings = cfg, d.findings[:1] // the credentials are checked with what the stack tells
	return nil
}

// examine runs the checks. A later one is left out if it cannot succeed.
func (d *doctor) examine(ctx context.Context, clients []string) error {
	healthy := d.checkCredentials(ctx)
	for _, text := range d.cfg.URLs {
		healthy = d.checkURL(ctx, text) && healthy
	}
	if !healthy {
		return errUnhealthy
	}
	c, err := client.New(d.cfg)
	if err != nil {
		d.add("configuration", "failed", err.Error(), "correct --api or --region")
		return errUnhealthy
	}
	for _, name := range clients {
		if err := d.checkClient(ctx, c, name); err != nil {
			return err
		}
	}
	return nil
}

// version describes this program.
func version() string {
	text := runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return text
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			text += ", revision " + setting.Value[:min(12, len(setting.Value))]
		}
	}
	return text
}

func (d *doctor) checkCredentials(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	got, err := d.cfg.AWS.Credentials.Retrieve(ctx)
	switch {
	case err != nil:
		// The text of the SDK may hold ARNs and the output of programs.
		d.add("credentials", "failed", "there are none that can be used", "run aws sts get-caller-identity with the same --profile; log in again if they have expired")
		return false
	case got.CanExpire && time.Until(got.Expires) < time.Minute:
		d.add("credentials", "failed", "they have expired, or do so within a minute", "log in again")
		return false
	case got.CanExpire:
		d.add("credentials", "ok", fmt.Sprintf("they end in %v", time.Until(got.Expires).Round(time.Second)), "")
	case got.SessionToken == "" && d.cfg.AWS.Region != "" && !localURLs(d.cfg.URLs):
		d.add("credentials", "warning", "they are a long-term key", "use a role or AWS IAM Identity Center instead")
	default:
		d.add("credentials", "ok", "they do not end", "")
	}
	return true
}

func localURLs(urls []string) bool {
	for _, text := range urls {
		if u, err := url.Parse(text); err != nil || u.Scheme != "http" {
			return false
		}
	}
	return len(urls) > 0
}

// checkURL checks the name, the connection and the clock of one URL, without a signature.
func (d *doctor) checkURL(ctx context.Context, text string) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if strings.HasPrefix(text, "arn:") {
		d.add("url", "ok", "the function is invoked without the API", "")
		return true
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		d.add("url", "failed", "a URL of the vendor cannot be read", "give the stack's output TokenUrl")
		return false
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		d.add("url", "failed", "a URL of the vendor cannot be read", "give the stack's output TokenUrl")
		return false
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
	defer transport.CloseIdleConnections()
	if proxy, err := http.ProxyFromEnvironment(req); err == nil && proxy != nil {
		d.add("proxy", "ok", "requests go through "+proxy.Host, "")
	} else if _, err := net.DefaultResolver.LookupHost(ctx, u.Hostname()); err != nil {
		d.add("name", "failed", u.Hostname()+" does not resolve", "check the URL, the network and the VPN; the stack may be deleted")
		return false
	}
	begun := time.Now()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		d.add("connection", "failed", connectionProblem(u.Host, err), "check the network, HTTPS_PROXY and the certificates of a proxy that inspects TLS")
		return false
	}
	_ = resp.Body.Close()
	d.add("connection", "ok", fmt.Sprintf("%s answers after %v", u.Host, time.Since(begun).Round(time.Millisecond)), "")
	return d.checkClock(resp)
}

// connectionProblem says why a connection failed, without the text of the error, which may hold
// the credentials of a proxy.
func connectionProblem(host string, err error) string {
	var timeout net.Error
	var operation *net.OpError
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return host + " does not answer in time"
	case errors.As(err, &operation) && operation.Op == "dial":
		return host + " refuses the connection"
	}
	return "the connection to " + host + " fails, for example at its certificate"
}

func (d *doctor) checkClock(resp *http.Response) bool {
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		d.add("clock", "warning", "the answer names no time to compare with", "")
		return true
	}
	skew := time.Since(date).Round(time.Second)
	switch {
	case skew.Abs() >= maxSkew:
		d.add("clock", "failed", fmt.Sprintf("this machine differs by %v", skew), "set the clock: AWS refuses signatures that differ by five minutes")
		return false
	case skew.Abs() >= warnSkew:
		d.add("clock", "warning", fmt.Sprintf("this machine differs by %v", skew), "set the clock: AWS refuses signatures that differ by five minutes")
	default:
		d.add("clock", "ok", fmt.Sprintf("it differs by %v", skew.Abs()), "")
	}
	return true
}

// checkClient makes a dry run and gets a token, which it does not show.
func (d *doctor) checkClient(ctx context.Context, c *client.Client, name string) error {
	text, err := c.Explain(ctx, client.Request{Client: name})
	if err != nil {
		return d.failed("dry run", err)
	}
	var x explanation
	if json.Unmarshal(text, &x) != nil {
		return d.failed("dry run", errors.New("the vendor's answer is no explanation"))
	}
	if err := x.problem(); err != nil {
		return d.failed("dry run", err)
	}
	d.add("dry run", "ok", "IAM and the policy allow it", "")
	begun := time.Now()
	t, err := c.Token(ctx, client.Request{Client: name})
	if err != nil {
		return d.failed("token", err)
	}
	detail := fmt.Sprintf("a token came after %v", time.Since(begun).Round(time.Millisecond))
	if !t.Expiry().IsZero() {
		detail += fmt.Sprintf(" and ends in %v", time.Until(t.Expiry()).Round(time.Second))
	}
	d.add("token", "ok", detail, "")
	return nil
}

// failed adds the vendor's error with what to do.
func (d *doctor) failed(check string, err error) error {
	advice := "report the request to the operators"
	var e *client.Error
	if errors.As(err, &e) {
		switch {
		case e.Status == http.StatusForbidden && e.Code == "":
			advice = "let the role have the policy in the stack's output CallerPolicy, with this client's name"
		case e.Status == http.StatusForbidden:
			advice = "check the client's name; otherwise ask the operators for the policy"
		case e.Status == http.StatusBadGateway && e.Code != "":
			advice = "tell the operators: the client's document or its credential is wrong, and a retry does not help"
		case e.Temporary():
			advice = "try again later"
		}
	}
	d.add(check, "failed", printable(err.Error()), advice)
	return err
}

func (d *doctor) print(w io.Writer, output string, color bool) error {
	if output == "json" {
		return json.NewEncoder(w).Encode(d.findings)
	}
	// Every cell of a column gets as many bytes of colour, so that the columns stay straight.
	paint := func(text string) string { return text }
	if color {
		codes := map[string]string{"ok": "32", "warning": "33", "failed": "31"}
		paint = func(text string) string { return "\x1b[" + cmp.Or(codes[text], "39") + "m" + text + "\x1b[0m" }
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(table, "CHECK\t%s\tDETAIL\n", paint("RESULT"))
	for _, f := range d.findings {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", f.Check, paint(f.Result), f.Detail)
		if f.Advice != "" {
			_, _ = fmt.Fprintf(table, "\t%s\t%s\n", paint(""), f.Advice)
		}
	}
	return table.Flush()
}
