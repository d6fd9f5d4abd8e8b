// Package scheduler is the part of Amazon EventBridge Scheduler that the token vendor
// uses, on one machine: schedules by rate, or at one time, that call a function.
//
// It refuses unsigned requests and browsers, and does not verify signatures. It has one
// group and no cron; schedules are gone with the process. Beyond what AWS has it knows
// rate(N seconds), for those who cannot wait a minute.
// It imports the standard library only.
//
// Source: docs.aws.amazon.com/scheduler/latest/APIReference
package scheduler

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Config configures a [Server].
type Config struct {
	// Region and Account make the ARNs; required.
	Region, Account string
	// Target is called with the input of a schedule that is due; required. Each call
	// has a goroutine of its own.
	Target func(arn string, input []byte)
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Server is the endpoint. It is safe for concurrent use.
type Server struct {
	cfg     Config
	targets sync.WaitGroup

	mu        sync.Mutex
	schedules map[string]*schedule // by name; guarded by mu, and all that is in them
}

type schedule struct {
	definition
	arn   string
	every time.Duration // 0: once
	next  time.Time     // zero: never again
}

// definition is what a caller says of a schedule.
type definition struct {
	ScheduleExpression string
	FlexibleTimeWindow struct{ Mode string }
	State              string
	Target             struct {
		ARN     string `json:"Arn"`
		RoleARN string `json:"RoleArn"`
		Input   string
	}
}

// New returns a Scheduler without schedules.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Server{cfg: cfg, schedules: make(map[string]*schedule)}
}

// Run calls what is due until ctx ends, and returns when the last call has.
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

// fire calls what is due now. What was missed is not made up for.
func (s *Server) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	for _, one := range s.schedules {
		if one.next.IsZero() || now.Before(one.next) || one.State == "DISABLED" {
			continue
		}
		input := strings.NewReplacer(
			"<aws.scheduler.schedule-arn>", one.arn, "<aws.scheduler.scheduled-time>", one.next.UTC().Format(time.RFC3339),
			"<aws.scheduler.execution-id>", rand.Text(), "<aws.scheduler.attempt-number>", "1",
		).Replace(one.Target.Input)
		if one.every == 0 {
			one.next = time.Time{}
		} else {
			one.next = now.Add(one.every)
		}
		arn := one.Target.ARN
		s.targets.Go(func() { s.cfg.Target(arn, []byte(input)) })
	}
}

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

func (s *Server) answer(r *http.Request) (any, *failure) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	switch {
	case r.Header.Get("Origin") != "" || host != "localhost" && (ip == nil || !ip.IsLoopback()):
		return nil, &failure{403, "AccessDeniedException", "only programs on this machine may call"}
	case !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 "):
		return nil, &failure{403, "MissingAuthenticationTokenException", "the request is not signed"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name, one := strings.CutPrefix(r.URL.Path, "/schedules/")
	switch {
	case r.URL.Path == "/schedules" && r.Method == http.MethodGet:
		return s.list(), nil
	case !one || !regexp.MustCompile(`^[0-9A-Za-z_.-]{1,64}$`).MatchString(name):
		return nil, invalid("the path must be /schedules or /schedules/NAME")
	case r.Method == http.MethodPost || r.Method == http.MethodPut:
		return s.put(name, r)
	}
	there := s.schedules[name]
	if there == nil {
		return nil, &failure{404, "ResourceNotFoundException", "the schedule does not exist"}
	}
	switch r.Method {
	case http.MethodGet:
		return there.describe(name), nil
	case http.MethodDelete:
		delete(s.schedules, name)
		return struct{}{}, nil
	}
	return nil, invalid("the method is not known")
}

func (s *Server) list() any {
	all := []any{}
	for _, name := range slices.Sorted(maps.Keys(s.schedules)) {
		one := s.schedules[name]
		all = append(all, map[string]any{"Name": name, "Arn": one.arn, "GroupName": "default", "State": one.State, "Target": map[string]string{"Arn": one.Target.ARN}})
	}
	return map[string]any{"Schedules": all}
}

func (one *schedule) describe(name string) any {
	return map[string]any{
		"Name": name, "Arn": one.arn, "GroupName": "default", "State": one.State, "ScheduleExpression": one.ScheduleExpression,
		"FlexibleTimeWindow": map[string]string{"Mode": one.FlexibleTimeWindow.Mode},
		"Target":             map[string]string{"Arn": one.Target.ARN, "RoleArn": one.Target.RoleARN, "Input": one.Target.Input},
	}
}

func (s *Server) put(name string, r *http.Request) (any, *failure) {
	var d definition
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil || json.Unmarshal(body, &d) != nil {
		return nil, invalid("the body is not a schedule")
	}
	there := s.schedules[name]
	switch {
	case r.Method == http.MethodPost && there != nil:
		return nil, &failure{409, "ConflictException", "the schedule exists already"}
	case r.Method == http.MethodPut && there == nil:
		return nil, &failure{404, "ResourceNotFoundException", "the schedule does not exist"}
	case d.Target.ARN == "" || d.Target.RoleARN == "":
		return nil, invalid("Target needs Arn and RoleArn")
	case d.FlexibleTimeWindow.Mode != "OFF" && d.FlexibleTimeWindow.Mode != "FLEXIBLE":
		return nil, invalid("FlexibleTimeWindow needs a Mode")
	case d.Target.Input == "":
		d.Target.Input = "{}"
	}
	if d.State == "" {
		d.State = "ENABLED"
	}
	one := &schedule{definition: d, arn: "arn:aws:scheduler:" + s.cfg.Region + ":" + s.cfg.Account + ":schedule/default/" + name}
	var problem *failure
	if one.every, one.next, problem = when(d.ScheduleExpression, s.cfg.Now()); problem != nil {
		return nil, problem
	}
	s.schedules[name] = one
	return map[string]string{"ScheduleArn": one.arn}, nil
}

// when reads a schedule's expression. A rate's first run is one interval from now.
func when(expression string, now time.Time) (every time.Duration, next time.Time, problem *failure) {
	if m := regexp.MustCompile(`^rate\(([0-9]{1,5}) (second|minute|hour|day)s?\)$`).FindStringSubmatch(expression); m != nil {
		n, _ := strconv.Atoi(m[1])
		unit := map[string]time.Duration{"second": time.Second, "minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour}[m[2]]
		if every = time.Duration(n) * unit; every > 0 {
			return every, now.Add(every), nil
		}
	}
	if text, ok := strings.CutPrefix(strings.TrimSuffix(expression, ")"), "at("); ok {
		if next, err := time.Parse("2006-01-02T15:04:05", text); err == nil {
			return 0, next, nil
		}
	}
	return 0, next, invalid("ScheduleExpression must be rate(N minutes) or at(yyyy-mm-ddThh:mm:ss); there is no cron here")
}
