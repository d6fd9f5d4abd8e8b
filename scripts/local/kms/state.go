package kms

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"time"
)

// state are all keys as [Server.State] encodes them.
type state struct {
	Keys    map[string]keyState
	Aliases map[string]string // to the id of a key
}

type keyState struct {
	ID, Spec string
	Created  time.Time
	// Material is the key of SYMMETRIC_DEFAULT, or a private key in PKCS#8.
	Material []byte
	Disabled bool
}

// State returns all keys with their material and their aliases as JSON, for
// [Server.Restore].
func (s *Server) State() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := state{Keys: make(map[string]keyState), Aliases: make(map[string]string)}
	for name, k := range s.keys {
		one := keyState{ID: k.id, Spec: k.spec, Created: k.created, Material: k.material, Disabled: k.disabled}
		if k.signer != nil {
			der, err := x509.MarshalPKCS8PrivateKey(k.signer)
			if err != nil {
				return nil, err
			}
			one.Material = der
		}
		all.Keys[name] = one
	}
	for name, k := range s.aliases {
		all.Aliases[name] = "key/" + k.id
	}
	return json.Marshal(all)
}

// Restore replaces all keys and aliases by those of [Server.State].
func (s *Server) Restore(text []byte) error {
	var all state
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	keys := make(map[string]*key, len(all.Keys))
	for name, one := range all.Keys {
		k := &key{id: one.ID, spec: one.Spec, created: one.Created, disabled: one.Disabled}
		if err := k.setMaterial(one.Material); err != nil {
			return err
		}
		keys[name] = k
	}
	aliases := make(map[string]*key, len(all.Aliases))
	for name, id := range all.Aliases {
		if aliases[name] = keys[id]; keys[id] == nil {
			return errors.New("an alias has no key")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys, s.aliases = keys, aliases
	return nil
}

func (k *key) setMaterial(material []byte) (err error) {
	if k.spec == symmetricDefault {
		k.material = material
		k.aead, err = newAEAD(material)
		return err
	}
	private, err := x509.ParsePKCS8PrivateKey(material)
	if err != nil {
		return err
	}
	var ok bool
	if k.signer, ok = private.(crypto.Signer); !ok {
		return errors.New("a key cannot sign")
	}
	return nil
}

// Has reports whether there is an alias, which is without the prefix alias/.
func (s *Server) Has(alias string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.aliases["alias/"+alias] != nil
}
