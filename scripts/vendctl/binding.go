package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// binding is how a program is told of the local endpoint.
type binding struct {
	location
	service string
}

func (b *binding) addFlags(flags *pflag.FlagSet) {
	b.location.addFlags(flags)
	flags.StringVar(&b.service, "service", "xsuaa", "xsuaa or identity: the service whose key is imitated")
}

// key returns the service key of a client.
func (b *binding) key(name string) (map[string]any, error) {
	if b.service != "xsuaa" && b.service != "identity" {
		return nil, usage("--service must be xsuaa or identity")
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	secret, err := b.readSecret()
	if err != nil {
		return nil, err
	}
	url := "http://" + b.listen
	key := map[string]any{"clientid": name, "clientsecret": secret, "url": url, "credential-type": "binding-secret"}
	host, _, err := net.SplitHostPort(b.listen)
	if err != nil {
		return nil, err
	}
	if b.service == "identity" {
		// Without app_tid, which libraries would send: the client's document says it.
		key["domain"], key["domains"] = host, []string{host}
		key["authorization_endpoint"], key["credential-type"] = url+"/oauth2/authorize", "SECRET"
	} else {
		key["uaadomain"], key["xsappname"], key["tenantmode"], key["identityzone"] = host, name, "dedicated", "local"
		key["apiurl"] = url
	}
	return key, nil
}

func newServiceKey() *cobra.Command {
	var b binding
	cmd := &cobra.Command{
		Use:   "service-key CLIENT",
		Short: "Print an SAP service key that points at vendctl serve",
		Long: "service-key prints a key with the local secret, which is of use on this machine only, and only until vendctl serve ends.\n" +
			"The exit code is 5 if vendctl serve does not answer.",
		Args: oneClient,
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := b.key(args[0])
			if err != nil {
				return err
			}
			return b.print(cmd, key)
		},
	}
	b.addFlags(cmd.Flags())
	return cmd
}

func newVCAP() *cobra.Command {
	var b binding
	cmd := &cobra.Command{
		Use:   "vcap CLIENT...",
		Short: "Print a VCAP_SERVICES that points at vendctl serve",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("got no arguments, want the names of clients")
			}
			return clientNames(args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var bindings []map[string]any
			for _, name := range args {
				key, err := b.key(name)
				if err != nil {
					return err
				}
				bindings = append(bindings, map[string]any{
					"label": b.service, "name": name, "instance_name": name, "binding_name": nil, "plan": "application", "tags": []string{b.service}, "credentials": key,
				})
			}
			return b.print(cmd, map[string]any{b.service: bindings})
		},
	}
	b.addFlags(cmd.Flags())
	return cmd
}

// errNotServing means that there is no local endpoint.
var errNotServing = errors.New("vendctl serve does not answer")

// print prints a document if the endpoint answers. Without it the local secret is an old one: each
// start makes another.
func (b *binding) print(cmd *cobra.Command, document any) error {
	text, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, "http://"+b.listen+"/healthz", nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Timeout: time.Second}).Do(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w at %s: the local secret is not valid", errNotServing, b.listen)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), string(text))
	return err
}
