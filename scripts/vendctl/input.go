package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// maxInput is more than a document or a token has, in bytes.
const maxInput = 1 << 20

// untilInterrupt returns what read returns, or the error of ctx if that ends first. A read of a terminal
// or a pipe cannot be ended: it goes on until the program ends.
func untilInterrupt(ctx context.Context, read func() ([]byte, error)) ([]byte, error) {
	var text []byte
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		text, err = read()
	}()
	select {
	case <-done:
		return text, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// readInput reads a file; "-" is standard input.
func readInput(cmd *cobra.Command, name string) ([]byte, error) {
	in := cmd.InOrStdin()
	return untilInterrupt(cmd.Context(), func() ([]byte, error) {
		if name == "-" {
			return io.ReadAll(io.LimitReader(in, maxInput))
		}
		text, err := readFile(name)
		if err != nil {
			// The name may be a secret or a document that was given in the place of one.
			var failure *fs.PathError
			if errors.As(err, &failure) {
				err = fmt.Errorf("%w (give the name of a file, or - for standard input)", failure.Err)
			}
			return nil, fmt.Errorf("the file: %w", err)
		}
		return text, nil
	})
}

// readFile reads a file of at most maxInput bytes: a device may have no end.
func readFile(name string) ([]byte, error) {
	file, err := os.Open(name) //nolint:gosec // the user names it
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxInput+1))
	if len(text) > maxInput {
		return nil, errors.New("it is larger than 1 MiB")
	}
	return text, err
}

// readFingerprints returns the SHA-256 of the token on standard input in hex. A text that has the form
// of one may be a token too, so that it is returned as well.
func readFingerprints(cmd *cobra.Command) ([]string, error) {
	text, err := readInput(cmd, "-")
	if err != nil {
		return nil, err
	}
	token, err := tokenOf(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(token))
	fingerprints := []string{hex.EncodeToString(sum[:])}
	if raw, err := hex.DecodeString(token); err == nil && len(raw) == sha256.Size {
		fingerprints = append(fingerprints, strings.ToLower(token))
	}
	return fingerprints, nil
}

// tokenOf returns the token in a text that get prints, in any of its formats.
func tokenOf(text string) (token string, err error) {
	token = text
	if variable, ok := strings.CutPrefix(text, "ACCESS_TOKEN="); ok {
		token = strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(variable, "'"), "'"), `'\''`, "'")
	}
	if option, ok := strings.CutPrefix(text, "header = "); ok && json.Unmarshal([]byte(option), &token) != nil {
		return "", usage("the option of curl on standard input cannot be read")
	}
	if strings.HasPrefix(text, "{") {
		var answer struct {
			Token string `json:"access_token"`
		}
		if json.Unmarshal([]byte(text), &answer) != nil || answer.Token == "" {
			return "", usage("the JSON on standard input has no access_token")
		}
		return answer.Token, nil
	}
	fields := strings.Fields(token)
	if len(fields) == 0 {
		return "", usage("there is no token on standard input")
	}
	return fields[len(fields)-1], nil // without "Authorization: Bearer"
}

// read returns the content of the file. A terminal does not show a secret that is typed.
func (f partFile) read(cmd *cobra.Command) ([]byte, error) {
	file, ok := cmd.InOrStdin().(*os.File)
	if f.name != "-" || !ok || !isTerminal(file) || !slices.Contains([]string{"client_secret", "private_key_password", "pkcs12_password"}, f.member) {
		return readInput(cmd, f.name)
	}
	fd := int(file.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "%s: ", f.member)
	text, err := untilInterrupt(cmd.Context(), func() ([]byte, error) { return term.ReadPassword(fd) })
	_, _ = fmt.Fprintln(cmd.ErrOrStderr())
	// After an interrupt the read goes on, and the terminal would show nothing.
	return text, errors.Join(err, term.Restore(fd, state))
}
