package main

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"tokenvendor/scripts/local/apigateway"
	"tokenvendor/scripts/local/dynamodb"
	"tokenvendor/scripts/local/sts"
	"tokenvendor/shared/oauth/oauthtest"
)

// keptState is what the flag -keep keeps over a restart: what commands and documents of the
// first run need in the second one. Messages in queues and schedules are not kept. The zero
// value is that of a first start.
type keptState struct {
	// CA is the authority of the authorization server's certificate, in PEM.
	CA string `json:"ca"`
	// Addresses are those of the servers, by name.
	Addresses  map[string]string      `json:"addresses"`
	Principals []principalDescription `json:"principals"`
	Clients    []keptClient           `json:"clients"`
	Secrets    json.RawMessage        `json:"secrets"`
	Keys       json.RawMessage        `json:"keys"`
	Table      []dynamodb.Item        `json:"table"`
}

// keptClient is a client as the authorization server knows it.
type keptClient struct {
	Name, Format, Method  string
	ID                    string
	Methods, Secrets      []string
	AppTID                string
	SubjectDN, Thumbprint string
	// Keys are public keys in PKIX, by kid.
	Keys map[string][]byte
	// Trusted means that the server trusts the tokens of STS for the client.
	Trusted bool
}

// client returns the client of the kept state with a name. ok is false if there is none.
func (k *keptState) client(name string, identity *sts.Server) (c client, ok bool, err error) {
	for _, one := range k.Clients {
		if one.Name != name {
			continue
		}
		c = client{name: one.Name, format: one.Format, method: one.Method, register: oauthtest.Client{
			ID: one.ID, Methods: one.Methods, Secrets: one.Secrets, AppTID: one.AppTID, SubjectDN: one.SubjectDN, Thumbprint: one.Thumbprint,
			Keys: make(map[string]crypto.PublicKey),
		}}
		for kid, der := range one.Keys {
			if c.register.Keys[kid], err = x509.ParsePKIXPublicKey(der); err != nil {
				return c, false, err
			}
		}
		if one.Trusted {
			c.register.Trust = trust(identity, name)
		}
		return c, true, nil
	}
	return c, false, nil
}

func keep(c client) (keptClient, error) {
	k := keptClient{
		Name: c.name, Format: c.format, Method: c.method, ID: c.register.ID, Methods: c.register.Methods, Secrets: c.register.Secrets,
		AppTID: c.register.AppTID, SubjectDN: c.register.SubjectDN, Thumbprint: c.register.Thumbprint,
		Keys: make(map[string][]byte), Trusted: c.register.Trust != nil,
	}
	for kid, key := range c.register.Keys {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			return k, err
		}
		k.Keys[kid] = der
	}
	return k, nil
}

// authority returns the kept authority; nil: there is none.
func (k *keptState) authority() (*oauthtest.CA, error) {
	if k.CA == "" {
		return nil, nil
	}
	return oauthtest.ParseCA(k.CA)
}

func (s *stack) statePath() string { return filepath.Join(s.keep, "state.json") }

// readState reads the kept state of the run before.
func (s *stack) readState() error {
	if s.keep == "" {
		return nil
	}
	text, err := os.ReadFile(s.statePath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, &s.kept)
	}
	if err != nil {
		return fmt.Errorf("the kept state %s: %w", s.statePath(), err)
	}
	for i, p := range s.kept.Principals {
		one := apigateway.Principal{ARN: p.ARN, AccessKeyID: p.AccessKeyID, SecretAccessKey: p.SecretAccessKey, SessionToken: p.SessionToken, Allow: p.Allow}
		if i < len(s.principals) {
			s.principals[i] = one
		} else {
			s.principals = append(s.principals, one) // of who has written the file
		}
	}
	return nil
}

// listen listens at the address that a server had in the run before, or at a free port of
// 127.0.0.1.
func (s *stack) listen(name string) (net.Listener, error) {
	address := s.kept.Addresses[name]
	if address == "" {
		address = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", address)
	if err != nil && s.kept.Addresses[name] != "" {
		return nil, fmt.Errorf("the kept address of %s: %w; is another stack running with -keep %s?", name, err, s.keep)
	}
	if err == nil {
		if s.kept.Addresses == nil {
			s.kept.Addresses = make(map[string]string)
		}
		s.kept.Addresses[name] = listener.Addr().String()
	}
	return listener, err
}

// restoreCache restores the keys, and the table that they protect.
func (s *stack) restoreCache() error {
	if s.kept.Keys == nil {
		return nil
	}
	return errors.Join(s.keys.Restore(s.kept.Keys), s.table.Add(cacheTable, s.kept.Table...))
}

// stateInterval is how often the state is written if it has changed, so that little is lost
// when the stack is killed.
const stateInterval = time.Second

// keepState writes the state until the stack is closed.
func (s *stack) keepState() error {
	if s.keep == "" {
		return nil
	}
	last, err := s.writeState(nil)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		ticker := time.NewTicker(stateInterval)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				if next, err := s.writeState(last); err == nil {
					last = next
				}
			}
		}
	})
	s.atClose(func() error {
		close(done)
		writing.Wait()
		_, err := s.writeState(last)
		return err
	})
	return nil
}

// writeState writes the state if it is not last, and returns it.
func (s *stack) writeState(last []byte) ([]byte, error) {
	state := keptState{Addresses: s.kept.Addresses, Principals: s.describePrincipals(), Table: s.table.Items(cacheTable)}
	var errs [3]error
	state.CA, errs[0] = s.issuer.CA().PEM()
	state.Secrets, errs[1] = s.secrets.State()
	state.Keys, errs[2] = s.keys.State()
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	for _, c := range s.clients {
		kept, err := keep(c)
		if err != nil {
			return nil, err
		}
		state.Clients = append(state.Clients, kept)
	}
	text, err := json.Marshal(state)
	if err != nil || bytes.Equal(text, last) {
		return text, err
	}
	return text, writeWhole(s.statePath(), text)
}
