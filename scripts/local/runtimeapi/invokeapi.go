package runtimeapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
)

// localOnly refuses requests that a web page could make a browser send: those with an
// Origin, and those for a name that resolves to this machine (DNS rebinding).
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Origin") != "" || !isLoopback(req.Host) {
			refuse(http.StatusForbidden, "AccessDeniedException", "only local programs may call this endpoint").write(w)
			return
		}
		next.ServeHTTP(w, req)
	})
}

func isLoopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// invokeAPI serves the operation Invoke of AWS Lambda. Signatures are not verified.
func (r *Runtime) invokeAPI() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /2015-03-31/functions/{name}/invocations", func(w http.ResponseWriter, req *http.Request) {
		if refused := r.invoke(w, req); refused != nil {
			refused.write(w)
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		refuse(http.StatusNotFound, "UnknownOperationException", req.Method+" "+req.URL.Path+" is not supported: only Invoke is").write(w)
	})
	return localOnly(mux)
}

// refusal is an error answer of the Invoke API.
type refusal struct {
	status        int
	kind, message string
}

func refuse(status int, kind, message string) *refusal { return &refusal{status, kind, message} }

// write answers in the form that the AWS SDKs read.
func (f *refusal) write(w http.ResponseWriter) {
	w.Header().Set("X-Amzn-Errortype", f.kind)
	writeJSON(w, f.status, map[string]string{"Type": "User", "message": f.message})
}

// invoke answers with the result of an event. If the caller leaves, an event that the
// process already has continues.
func (r *Runtime) invoke(w http.ResponseWriter, req *http.Request) *refusal {
	qualifier, refused := r.qualifier(req.PathValue("name"), req.URL.Query().Get("Qualifier"))
	if refused != nil {
		return refused
	}
	if kind := req.Header.Get("X-Amz-Invocation-Type"); kind != "" && kind != "RequestResponse" {
		return refuse(http.StatusBadRequest, "InvalidParameterValueException", "the invocation type must be RequestResponse")
	}
	if req.Header.Get("X-Amz-Client-Context") != "" {
		return refuse(http.StatusBadRequest, "InvalidParameterValueException", "a client context is not supported")
	}
	body, refused := readPayload(w, req)
	if refused != nil {
		return refused
	}
	e := r.newEvent(Invocation{Payload: body, Qualifier: qualifier})
	result, err := r.run(req.Context(), e)
	if errors.Is(err, ErrClosed) {
		return refuse(http.StatusServiceUnavailable, "ServiceException", "the runtime was closed")
	}
	if errors.Is(err, ErrThrottled) {
		return refuse(http.StatusTooManyRequests, "TooManyRequestsException", "Rate Exceeded.")
	}
	if err != nil {
		return nil // the caller has left
	}
	w.Header().Set("X-Amzn-Requestid", e.id)
	w.Header().Set("X-Amz-Executed-Version", "$LATEST")
	w.Header().Set("Content-Type", "application/json")
	if result.FunctionError != "" {
		w.Header().Set("X-Amz-Function-Error", result.FunctionError)
	}
	_, _ = w.Write(result.Payload)
	return nil
}

// qualifier returns the alias or version that a request names, in the function's name or
// in the query.
func (r *Runtime) qualifier(name, query string) (string, *refusal) {
	match := r.names.FindStringSubmatch(name)
	if match == nil {
		return "", refuse(http.StatusNotFound, "ResourceNotFoundException", "Function not found")
	}
	if match[1] != "" && query != "" && match[1] != query {
		return "", refuse(http.StatusBadRequest, "InvalidParameterValueException",
			"The derived qualifier from the function name does not match the specified qualifier.")
	}
	qualifier := or(match[1], query)
	if qualifier != "" && !r.names.MatchString(r.cfg.FunctionName+":"+qualifier) {
		return "", refuse(http.StatusBadRequest, "ValidationException", "malformed qualifier")
	}
	if slices.Contains(r.cfg.PrivateAliases, or(qualifier, r.cfg.Alias)) {
		return "", refuse(http.StatusForbidden, "AccessDeniedException",
			"not authorized to perform: lambda:InvokeFunction on resource: "+r.arn(qualifier))
	}
	return qualifier, nil
}

func readPayload(w http.ResponseWriter, req *http.Request) ([]byte, *refusal) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxPayload))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, refuse(http.StatusRequestEntityTooLarge, "RequestTooLargeException",
			fmt.Sprintf("Request must be smaller than %d bytes for the InvokeFunction operation", maxPayload))
	}
	if err != nil || len(body) > 0 && !json.Valid(body) {
		return nil, refuse(http.StatusBadRequest, "InvalidRequestContentException", "Could not parse request body into json")
	}
	return body, nil
}
