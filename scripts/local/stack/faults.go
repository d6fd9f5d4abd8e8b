package main

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tokenvendor/scripts/local/awsjson"
	"tokenvendor/scripts/local/cloudwatch"
	"tokenvendor/scripts/local/runtimeapi"
)

// faults are what the stack can be told to do wrong, for drills: PUT NAME below its address begins
// one, and DELETE NAME ends it. The address has a random part, which no web page knows.
type faults struct {
	// token and batch: Lambda turns invocations of that function away.
	token, batch atomic.Bool
	// dropped: CloudWatch Logs does not take lines, which Lambda drops.
	dropped atomic.Bool
}

// many is more often than any drill calls the table.
const many = 1 << 20

// startFaults serves the address of faults. A fault of the log is that it takes no lines, and one of
// the table that it answers with an error. A restart ends the functions' environments, as Lambda
// does now and then.
func (s *stack) startFaults() error {
	var mu sync.Mutex // of log, which is locked while the log is blocked
	log := false
	set := map[string]func(on bool){
		"restart": func(on bool) {
			for _, function := range []*runtimeapi.Runtime{s.function, s.jobs.batch} {
				if process, err := os.FindProcess(function.PID()); on && err == nil && function.PID() > 0 {
					_ = process.Kill()
				}
			}
		},
		"token": s.faults.token.Store,
		"batch": s.faults.batch.Store,
		"drop":  s.faults.dropped.Store,
		"table": func(on bool) {
			for _, operation := range []string{"GetItem", "UpdateItem"} {
				times := 0
				if on {
					times = many
				}
				s.table.Inject(operation, times, awsjson.Fault{Code: "InternalServerError"})
			}
		},
		"log": func(on bool) {
			mu.Lock()
			defer mu.Unlock()
			if on && !log {
				s.log.blocked.Lock()
			} else if !on && log {
				s.log.blocked.Unlock()
			}
			log = on
		},
	}
	s.atClose(func() error { set["log"](false); return nil })
	secret := "/" + rand.Text() + "/"
	url, err := s.serve("faults", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, _ := strings.CutPrefix(r.URL.Path, secret)
		fault := set[name]
		switch {
		case fault == nil || r.Method != http.MethodPut && r.Method != http.MethodDelete:
			http.Error(w, "PUT or DELETE one of: batch, drop, log, restart, table, token", http.StatusNotFound)
		default:
			fault(r.Method == http.MethodPut)
		}
	}))
	s.faultsURL = url + strings.TrimSuffix(secret, "/")
	return err
}

// observe returns a function that counts what AWS's metrics of a function do.
func (s *stack) observe(function string) func(runtimeapi.Observation) {
	dimension := cloudwatch.Dimension{Name: "FunctionName", Value: function}
	add := func(metric string, value float64) { s.meter.Add("AWS/Lambda", metric, value, dimension) }
	return func(o runtimeapi.Observation) {
		if o.Throttled {
			add("Throttles", 1)
			return
		}
		add("Invocations", 1)
		add("Errors", one(o.Failed))
		if aliasOf(o.ARN) == urlAlias {
			// A Function URL makes 502 of an error of the function.
			var answer struct{ StatusCode int }
			_ = json.Unmarshal(o.Payload, &answer)
			add("Url5xxCount", one(o.Failed || answer.StatusCode >= http.StatusInternalServerError))
		}
		add("Duration", float64(o.Duration)/float64(time.Millisecond))
		add("ConcurrentExecutions", 1) // one event at a time
	}
}

// one is the value of a metric that counts what happened.
func one(happened bool) float64 {
	if happened {
		return 1
	}
	return 0
}

// measured counts the answers of the API.
func (s *stack) measured(api http.Handler) http.Handler {
	dimensions := []cloudwatch.Dimension{{Name: "ApiName", Value: functionName}, {Name: "Stage", Value: "v1"}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		api.ServeHTTP(status, r)
		for class, metric := range map[int]string{4: "4XXError", 5: "5XXError"} {
			s.meter.Add("AWS/ApiGateway", metric, one(status.status/100 == class), dimensions...)
		}
	})
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// startMetrics writes the metrics of AWS's services into the log, as far as something happens.
func (s *stack) startMetrics() error {
	s.meter.Output = s.log
	stop := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		s.meter.Run(stop, func() {
			for _, queue := range []string{ordersQueue, deadQueue, clockQueue} {
				s.sampleQueue(queue)
			}
		})
	})
	s.atClose(func() error {
		close(stop)
		running.Wait()
		return nil
	})
	return nil
}

// sampleQueue measures a queue that is not empty. Hidden messages count, too.
func (s *stack) sampleQueue(name string) {
	messages := s.jobs.queues.Messages(name)
	if len(messages) == 0 {
		return
	}
	oldest := messages[0].Sent
	for _, m := range messages {
		if m.Sent.Before(oldest) {
			oldest = m.Sent
		}
	}
	dimension := cloudwatch.Dimension{Name: "QueueName", Value: name}
	s.meter.Add("AWS/SQS", "ApproximateNumberOfMessagesVisible", float64(len(messages)), dimension)
	s.meter.Add("AWS/SQS", "ApproximateAgeOfOldestMessage", time.Since(oldest).Seconds(), dimension)
}
