// Package scheduler is a local double of Amazon EventBridge Scheduler: schedules that call
// a function at a fixed rate.
//
// It has the operations CreateSchedule and DeleteSchedule, one group, and no cron and
// at expressions. In addition to AWS it accepts rate(N seconds), for tests. It refuses
// unsigned requests and browsers, and does not verify signatures. Schedules end with the
// process. It imports the standard library only.
//
// Source: docs.aws.amazon.com/scheduler/latest/APIReference
package scheduler

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Config configures a [Server].
type Config struct {
	// Region and Account are part of the schedules' ARNs. Required.
	Region, Account string
	// Target is called with the input of a schedule that is due, each time in a new
	// goroutine. Required.
	Target func(arn string, input []byte)
}

// Server is the endpoint. It is safe for concurrent use.
type Server struct {
	cfg     Config
	targets sync.WaitGroup

	mu        sync.Mutex
	schedules map[string]*schedule // by name; guarded by mu, with their members
}

type schedule struct {
	definition
	every time.Duration
	next  time.Time
}

// definition is the body of CreateSchedule.
type definition struct {
	ScheduleExpression string
	FlexibleTimeWindow struct{ Mode string }
	Target             struct {
		ARN     string `json:"Arn"`
		RoleARN string `json:"RoleArn"`
		Input   string
	}
	ClientToken string // sent by every SDK; ignored
}

// New returns a server without schedules.
func New(cfg Config) *Server {
	return &Server{cfg: cfg, schedules: make(map[string]*schedule)}
}

// Run calls the targets that are due until ctx ends, and returns after the last call has
// returned.
func (s *Server) Run(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	defer s.targets.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.fire()
		}
	}
}

// fire calls the targets that are due now. Missed runs are not repeated.
func (s *Server) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, one := range s.schedules {
		if now.Before(one.next) {
			continue
		}
		input := strings.ReplaceAll(one.Target.Input, "<aws.scheduler.scheduled-time>", one.next.UTC().Format(time.RFC3339))
		arn := one.Target.ARN
		one.next = now.Add(one.every)
		s.targets.Go(func() { s.cfg.Target(arn, []byte(input)) })
	}
}

// failure is an error answer.
type failure struct {
	status        int
	code, message string
}

func invalid(message string) *failure { return &failure{400, "ValidationException", message} }

// ServeHTTP answers one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, problem := s.answer(r)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-Requestid", rand.Text())
	if problem != nil {
		w.Header().Set("X-Amzn-Errortype", problem.code)
		w.WriteHeader(problem.status)
		answer = map[string]string{"Message": problem.message}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

var scheduleName = regexp.MustCompile(`^[0-9A-Za-z_.-]{1,64}$`)

func (s *Server) answer(r *http.Request) (map[string]string, *failure) {
	if problem := accept(r); problem != nil {
		return nil, problem
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/schedules/")
	if !ok || r.Method != http.MethodPost && r.Method != http.MethodDelete {
		return nil, &failure{404, "UnknownOperationException", r.Method + " " + r.URL.Path + " is not supported: only CreateSchedule and DeleteSchedule are"}
	}
	if !scheduleName.MatchString(name) {
		return nil, invalid("Name must be 1 to 64 letters, digits and _.-")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodPost {
		return s.create(name, r.Body)
	}
	if s.schedules[name] == nil {
		return nil, &failure{404, "ResourceNotFoundException", "the schedule does not exist"}
	}
	delete(s.schedules, name)
	return map[string]string{}, nil
}

// accept refuses requests of browsers and unsigned requests.
func accept(r *http.Request) *failure {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	switch {
	case r.Header.Get("Origin") != "" || host != "localhost" && (ip == nil || !ip.IsLoopback()):
		return &failure{403, "AccessDeniedException", "only programs on this machine may call"}
	case !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 "):
		return &failure{403, "MissingAuthenticationTokenException", "the request is not signed"}
	}
	return nil
}

// create must be called with mu held.
func (s *Server) create(name string, body io.Reader) (map[string]string, *failure) {
	var d definition
	text, err := io.ReadAll(io.LimitReader(body, 1<<20))
	strict := json.NewDecoder(bytes.NewReader(text))
	// Ignoring an unsupported member would be a hidden difference from AWS.
	strict.DisallowUnknownFields()
	if err != nil || strict.Decode(&d) != nil {
		return nil, invalid("the body is not a schedule, or has a member that is not supported")
	}
	every := interval(d.ScheduleExpression)
	switch {
	case s.schedules[name] != nil:
		return nil, &failure{409, "ConflictException", "the schedule exists already"}
	case d.Target.ARN == "" || d.Target.RoleARN == "" || d.Target.Input == "":
		return nil, invalid("Target needs Arn, RoleArn and Input")
	case d.FlexibleTimeWindow.Mode != "OFF":
		return nil, invalid("the Mode of FlexibleTimeWindow must be OFF")
	case every == 0:
		return nil, invalid("ScheduleExpression must be rate(N minutes); cron and at are not supported")
	}
	s.schedules[name] = &schedule{d, every, time.Now().Add(every)}
	return map[string]string{"ScheduleArn": "arn:aws:scheduler:" + s.cfg.Region + ":" + s.cfg.Account + ":schedule/default/" + name}, nil
}

var rate = regexp.MustCompile(`^rate\(([0-9]{1,5}) (second|minute|hour|day)s?\)$`)

// interval returns the interval of a rate expression; zero: it is not one.
func interval(expression string) time.Duration {
	m := rate.FindStringSubmatch(expression)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	unit := map[string]time.Duration{"second": time.Second, "minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour}[m[2]]
	return time.Duration(n) * unit
}
