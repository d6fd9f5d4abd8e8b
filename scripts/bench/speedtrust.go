package main

import (
	"errors"
	"os"
	"path/filepath"
)

// Trust stores of bench speed. A Go program reads a bundle and each file of two folders,
// which are links to the bundle on Amazon Linux: it parses all roots three times. The
// template tells the token function to read the bundle only.
const (
	trustSmall  = "small"  // the root of the benchmark only
	trustBundle = "bundle" // this machine's roots, too, in a bundle without folders
	trustAmazon = "amazon" // a bundle and folders as on Amazon Linux
)

// trustStore is a trust store and the variables by which programs find it.
type trustStore struct {
	description string
	root        string   // a file with the benchmark's root
	vars        []string // of a function that sets nothing
	tokenVars   []string // as template.yaml sets them
}

// newTrustStore makes files in dir.
func newTrustStore(dir, kind string, root []byte) (trustStore, error) {
	s := trustStore{root: filepath.Join(dir, "root.pem")}
	bundle, none := s.root, filepath.Join(dir, "no-folder-of-certificates")
	if err := os.WriteFile(s.root, root, 0o600); err != nil {
		return s, err
	}
	folders := none
	switch kind {
	case trustSmall:
		s.description = "small: the benchmark's root only"
	case trustBundle, trustAmazon:
		roots, err := systemRoots()
		if err != nil {
			return s, err
		}
		bundle = filepath.Join(dir, "bundle.pem")
		if err := os.WriteFile(bundle, append(roots, root...), 0o600); err != nil {
			return s, err
		}
		s.description = "bundle: the machine's roots and the benchmark's, in one file"
	}
	if kind == trustAmazon {
		s.description = "amazon: the machine's roots and the benchmark's, in a bundle to which two folders have links; token reads the bundle only, as template.yaml says"
		folders = ""
		for _, name := range []string{"certs-1", "certs-2"} {
			folder := filepath.Join(dir, name)
			if err := errors.Join(os.Mkdir(folder, 0o700), os.Symlink(bundle, filepath.Join(folder, "ca-bundle.crt"))); err != nil {
				return s, err
			}
			folders += ":" + folder
		}
		folders = folders[1:]
	}
	s.vars = []string{"SSL_CERT_FILE=" + bundle, "SSL_CERT_DIR=" + folders}
	s.tokenVars = []string{"SSL_CERT_FILE=" + bundle, "SSL_CERT_DIR=" + none}
	return s, nil
}

// systemRoots returns this machine's bundle.
func systemRoots() ([]byte, error) {
	for _, file := range []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"} {
		if text, err := os.ReadFile(file); err == nil {
			return text, nil
		}
	}
	return nil, errors.New("this machine has no bundle of root certificates; use -trust small")
}
