package runtimeapi

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// localOnly refuses what a web page could make a browser send: a request with an
// Origin, or one for a name that was made to point here (DNS rebinding).
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Origin") != "" || !isLoopback(req.Host) {
			invokeError(w, http.StatusForbidden, "AccessDeniedException", "only local programs may call this endpoint")
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

// invokeAPI is the Invoke operation of AWS Lambda. Signatures are not verified.
func (r *Runtime) invokeAPI() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /2015-03-31/functions/{name}/invocations", r.invoke)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		invokeError(w, http.StatusNotFound, "UnknownOperationException", "only Invoke is served here")
	})
	return localOnly(mux)
}

func (r *Runtime) invoke(w http.ResponseWriter, req *http.Request) {
	qualifier, refusal := r.qualifier(req.PathValue("name"), req.URL.Query().Get("Qualifier"))
	if refusal != nil {
		refusal(w)
		return
	}
	kind := or(req.Header.Get("X-Amz-Invocation-Type"), "RequestResponse")
	limit, ok := map[string]int{"RequestResponse": maxPayload, "Event": maxAsyncPayload, "DryRun": maxPayload}[kind]
	if !ok {
		invokeError(w, http.StatusBadRequest, "InvalidParameterValueException", "unknown invocation type")
		return
	}
	e, refusal := r.readEvent(w, req, qualifier, limit)
	if refusal != nil {
		refusal(w)
		return
	}
	w.Header().Set("X-Amzn-Requestid", e.id)
	w.Header().Set("X-Amz-Executed-Version", "$LATEST")
	switch kind {
	case "DryRun":
		w.WriteHeader(http.StatusNoContent)
	case "Event":
		r.runLater(w, e)
	default:
		r.runNow(w, req, e)
	}
}

// refusal writes why a request cannot be served.
type refusal func(http.ResponseWriter)

func refuse(status int, kind, message string) refusal {
	return func(w http.ResponseWriter) { invokeError(w, status, kind, message) }
}

// namePattern matches the function's name, "account:function:name" and the ARN,
// each with a qualifier or not.
func namePattern(cfg Config) *regexp.Regexp {
	return regexp.MustCompile("^(?:(?:arn:aws:lambda:" + regexp.QuoteMeta(cfg.Region) + ":)?" +
		regexp.QuoteMeta(cfg.Account) + ":function:)?" +
		regexp.QuoteMeta(cfg.FunctionName) + `(?::([a-zA-Z0-9$_-]{1,128}))?$`)
}

// qualifier finds the alias or version that a request names, in the function's name
// or in the query.
func (r *Runtime) qualifier(name, query string) (string, refusal) {
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

func (r *Runtime) readEvent(w http.ResponseWriter, req *http.Request, qualifier string, limit int) (*event, refusal) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, int64(limit)))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, refuse(http.StatusRequestEntityTooLarge, "RequestTooLargeException",
			fmt.Sprintf("Request must be smaller than %d bytes for the InvokeFunction operation", limit))
	}
	if err != nil || len(body) > 0 && !json.Valid(body) {
		return nil, refuse(http.StatusBadRequest, "InvalidRequestContentException",
			"Could not parse request body into json")
	}
	clientContext, err := base64.StdEncoding.DecodeString(req.Header.Get("X-Amz-Client-Context"))
	if err != nil || len(clientContext) > 0 && !json.Valid(clientContext) {
		return nil, refuse(http.StatusBadRequest, "InvalidRequestContentException",
			"Could not parse the client context")
	}
	e, err := r.newEvent(Invocation{
		Payload:       body,
		Qualifier:     qualifier,
		ClientContext: oneLine(clientContext),
		TraceID:       req.Header.Get("X-Amzn-Trace-Id"),
	}, limit)
	if err != nil {
		return nil, refuse(http.StatusRequestEntityTooLarge, "RequestTooLargeException", "too large")
	}
	return e, nil
}

// oneLine makes JSON fit for a header: line breaks in it are only whitespace.
func oneLine(json []byte) string {
	return strings.NewReplacer("\r", " ", "\n", " ").Replace(string(json))
}

// runNow answers with the result of e. When the caller leaves, e runs on if a
// process has it.
func (r *Runtime) runNow(w http.ResponseWriter, req *http.Request, e *event) {
	if err := r.enqueue(e); err != nil {
		invokeError(w, http.StatusServiceUnavailable, "ServiceException", "the runtime was closed")
		return
	}
	select {
	case result := <-e.done:
		w.Header().Set("Content-Type", "application/json")
		if result.FunctionError != "" {
			w.Header().Set("X-Amz-Function-Error", result.FunctionError)
		}
		_, _ = w.Write(result.Payload)
	case <-req.Context().Done():
		r.withdraw(e)
	}
}

// runLater accepts e and forgets about its result. Lambda would try twice more
// after an error; this does not.
func (r *Runtime) runLater(w http.ResponseWriter, e *event) {
	if err := r.enqueue(e); err != nil {
		invokeError(w, http.StatusServiceUnavailable, "ServiceException", "the runtime was closed")
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// invokeError is an error as the AWS SDKs read it.
func invokeError(w http.ResponseWriter, status int, kind, message string) {
	w.Header().Set("X-Amzn-Errortype", kind)
	writeJSON(w, status, map[string]string{"Type": "User", "message": message})
}
