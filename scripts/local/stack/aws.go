package main

import (
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
)

// startAWS serves all services of AWS at one address, as the variable AWS_ENDPOINT_URL needs
// it. It forwards each request to the service's own address.
func (s *stack) startAWS() (err error) {
	services := make(map[string]http.Handler)
	for name, address := range map[string]string{
		"secretsmanager": s.secretsURL, "DynamoDB_20120810": s.tableURL, "TrentService": s.keysURL, "AmazonSQS": s.jobs.queueURL,
		"AWSEvents": s.jobs.busURL, "sts": s.identityURL, "scheduler": s.jobs.scheduleURL, functionName: s.function.URL(), batchName: s.jobs.batch.URL(),
	} {
		target, err := url.Parse(address)
		if err != nil {
			return err
		}
		services[name] = &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, ErrorLog: log.New(io.Discard, "", 0)}
	}
	s.awsURL, err = s.serve("aws", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if service := services[serviceOf(r)]; service != nil {
			service.ServeHTTP(w, r)
			return
		}
		http.Error(w, "the local stack has no such service", http.StatusNotFound)
	}))
	return err
}

// serviceOf returns the service that a request is for: the one in X-Amz-Target, if its
// protocol is JSON; of Lambda the function that is invoked.
func serviceOf(r *http.Request) string {
	service, _, isJSON := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	switch {
	case isJSON:
		return service
	case strings.HasPrefix(r.URL.Path, "/schedules"):
		return "scheduler"
	case strings.HasPrefix(r.URL.Path, invokePath):
		name := strings.TrimPrefix(r.URL.Path, invokePath)
		name, _, _ = strings.Cut(name, "/")
		name, _, _ = strings.Cut(strings.TrimPrefix(name, "arn:aws:lambda:"+region+":"+account+":function:"), ":")
		return name
	case r.URL.Path == "/":
		return "sts"
	}
	return ""
}

// invokePath precedes the function's name in the path of an invocation.
const invokePath = "/2015-03-31/functions/"
