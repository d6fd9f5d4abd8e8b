package awsapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"

	"tokenvendor/shared/secret"
)

const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// explained is a sentinel of package secret with a text of its own.
type explained struct {
	text     string
	sentinel error
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.sentinel }

// secretError returns a sentinel of package secret with the code of err, for the version with the
// staging label stage. Three errors wrap ErrNotFound: Secrets Manager has one code for a secret
// that is missing and for one without a value, and another for one that is scheduled for deletion.
func secretError(ctx context.Context, err error, stage string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("secretsmanager: %w (%s)", ctx.Err(), ErrorCode(err))
	}
	code := ErrorCode(err)
	switch {
	case code == "ResourceNotFoundException" && messageHas(err, "staging label"):
		return &explained{"secretsmanager: the secret has no value with the label " + stage + " (" + code + ")", secret.ErrNotFound}
	case code == "InvalidRequestException":
		return &explained{"secretsmanager: the secret is scheduled for deletion (" + code + ")", secret.ErrNotFound}
	}
	return classified("secretsmanager", err, secret.ErrNotFound, func(code string) bool { return code == "ResourceNotFoundException" })
}

// classified returns a sentinel with the code of err: absent if isAbsent returns true for the
// code, or else one of package secret.
func classified(service string, err, absent error, isAbsent func(code string) bool) error {
	code, sentinel, by := ErrorCode(err), secret.ErrUnavailable, ""
	switch {
	case isAbsent(code):
		sentinel = absent
	case permanent(code):
		sentinel, by = secret.ErrDenied, refusedBy(code, err)
	}
	return fmt.Errorf("%s: %w%s (%s)", service, sentinel, by, code)
}

// permanent reports whether an error code means that the same call fails until permissions
// or configuration change.
func permanent(code string) bool {
	switch code {
	case "AccessDeniedException", "AccessDenied", "DecryptionFailure", "KMSAccessDeniedException",
		"KMSInvalidStateException", "DisabledException", "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException",
		"InvalidParameterException", "ValidationException", "ValidationError", "JWTPayloadSizeExceededException", "SessionDurationEscalationException":
		return true
	}
	return false
}

// refusedBy says which service refused a call; empty for an error that is no refusal. Secrets
// Manager has one code for IAM and for KMS, and names KMS in the message only.
func refusedBy(code string, err error) string {
	switch code {
	case "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException":
		return ": AWS refuses the vendor's credentials"
	case "DecryptionFailure", "KMSAccessDeniedException":
		return " by KMS: check kms:Decrypt and the key's policy"
	case "KMSInvalidStateException", "DisabledException":
		return " by KMS: the key is not enabled"
	case "AccessDeniedException", "AccessDenied":
		// The name of a secret in the message may contain kms too.
		if messageHas(err, "access to kms") || messageHas(err, "perform: kms:") {
			return " by KMS: check kms:Decrypt and the key's policy"
		}
		return " by IAM: check the role and the resource's policy"
	}
	return ""
}

// messageHas reports whether AWS's message contains text, which is in lower case. The message
// itself contains ARNs and must not be shown.
func messageHas(err error, text string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && strings.Contains(strings.ToLower(api.ErrorMessage()), text)
}

// ErrorCode returns the code of an error of the SDK, or else a fixed text that says why there is
// none. It returns nothing else of the error, which may hold ARNs.
func ErrorCode(err error) string {
	var operation *smithy.OperationError
	var api smithy.APIError
	switch {
	case errors.As(err, &operation) && strings.HasPrefix(operation.Err.Error(), "get identity: "):
		// The error of the provider may have a code, which is of another service.
		return "no AWS credentials"
	case !errors.As(err, &api):
		return noAnswer(err)
	}
	code := api.ErrorCode()
	if code == "" || len(code) > 64 || strings.Trim(code, alphanumeric) != "" {
		return "error without a code"
	}
	return code
}

// noAnswer says why a call had no answer.
func noAnswer(err error) string {
	var name *net.DNSError
	var dial *net.OpError
	var certificate *tls.CertificateVerificationError
	var notTLS tls.RecordHeaderError
	var t net.Error
	switch {
	case unreadable(err):
		return "an answer that cannot be read"
	case errors.As(err, &name):
		return "no answer: DNS does not resolve the endpoint"
	case errors.As(err, &certificate), errors.As(err, &notTLS),
		strings.Contains(err.Error(), "tls: "), strings.Contains(err.Error(), "TLS handshake timeout"):
		return "no answer: the TLS handshake failed"
	case errors.As(err, &dial) && dial.Op == "dial":
		return "no answer: no connection; check route, security groups and VPC endpoint"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &t) && t.Timeout():
		return "no answer in time"
	}
	return "no answer"
}

// unreadable reports whether an answer was empty, broke off or is not in AWS's format.
func unreadable(err error) bool {
	var format *smithy.DeserializationError
	var tooLarge *http.MaxBytesError
	return errors.As(err, &format) && !errors.As(err, &tooLarge)
}
