package main

import (
	"io"

	"github.com/spf13/cobra"

	"tokenvendor/scripts/vendctl/openapi"
)

func newOpenAPI() *cobra.Command {
	return &cobra.Command{
		Use:   "openapi",
		Short: "Print the description of the vendor's API (OpenAPI 3.0.3)",
		Args:  exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), openapi.Document())
			return err
		},
	}
}
