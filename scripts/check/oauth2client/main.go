// Command oauth2client gets a token of the client demo with golang.org/x/oauth2 as it is. It is part
// of scripts/check/vendctl.
//
//	oauth2client TOKEN_URL FILE_OF_THE_LOCAL_SECRET
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

func main() {
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "failed: golang.org/x/oauth2:", err)
		os.Exit(1)
	}
	fmt.Println("ok: golang.org/x/oauth2 gets a token, with the client in the header and in the body")
}

func run(ctx context.Context, url, file string) error {
	secret, err := os.ReadFile(file) //nolint:gosec // the check names it
	if err != nil {
		return err
	}
	for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleAutoDetect, oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams} {
		library := clientcredentials.Config{ClientID: "demo", ClientSecret: string(secret), TokenURL: url, Scopes: []string{"read"}, AuthStyle: style}
		token, err := library.Token(ctx)
		if err != nil {
			return err
		}
		if !token.Valid() || token.Extra("scope") != "read" || time.Until(token.Expiry) < 10*time.Minute {
			return fmt.Errorf("style %d: got the scope %v and the end %v", style, token.Extra("scope"), token.Expiry)
		}
	}
	return nil
}
