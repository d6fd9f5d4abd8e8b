package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

// fleetConfig is what the flags of the subcommand fleet say.
type fleetConfig struct {
	envConfig
	processes, callers int
	lives              int

	issuerDown, tableDown, rotate, killHolder bool
}

// fleet takes many processes through a cold start and several lives of their tokens, and
// reports what the servers counted.
func fleet(ctx context.Context, args []string, out io.Writer) (err error) {
	var cfg fleetConfig
	flags := flag.NewFlagSet("fleet", flag.ContinueOnError)
	flags.IntVar(&cfg.processes, "processes", 32, "processes of the function")
	flags.IntVar(&cfg.callers, "callers", 200, "callers at the cold start")
	flags.DurationVar(&cfg.life, "life", 10*time.Second, "life of a token")
	flags.IntVar(&cfg.lives, "lives", 3, "how many token lives the run goes on for after the start")
	flags.BoolVar(&cfg.table, "table", true, "share a table")
	flags.BoolVar(&cfg.issuerDown, "issuer-down", false, "the authorization server is down for the middle third")
	flags.BoolVar(&cfg.tableDown, "table-down", false, "the table hangs once the processes have started and have the epoch's key")
	flags.BoolVar(&cfg.wrongSecret, "wrong-secret", false, "the secret is wrong at the start, and corrected afterwards")
	flags.BoolVar(&cfg.rotate, "rotate", false, "the secret is rotated in the middle: the old one stops working as the new one becomes current")
	flags.BoolVar(&cfg.killHolder, "kill-holder", false, "the process that makes the first exchange is killed during it (SIGKILL)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if cfg.processes < 1 || cfg.callers < 1 || cfg.lives < 0 || cfg.life < time.Second {
		return errors.New("fleet: -processes and -callers must be at least 1, -life at least 1s")
	}
	e, err := newEnv(ctx, cfg.envConfig)
	if err != nil {
		return err
	}
	f := &fleetRun{env: e, cfg: cfg, out: out}
	defer func() { err = errors.Join(err, f.stop(), e.close()) }()
	return f.run(ctx)
}

// fleetRun is one run of the subcommand fleet.
type fleetRun struct {
	env       *env
	cfg       fleetConfig
	out       io.Writer
	instances []*instance
}

// instance is one process, which takes one event at a time, as in Lambda.
type instance struct {
	mu   sync.Mutex
	p    *process // nil after it was killed; guarded by mu
	sent int      // guarded by mu
}

// start starts all processes, four at a time: in Lambda they do not share a processor
// either.
func (f *fleetRun) start(ctx context.Context) error {
	f.instances = make([]*instance, f.cfg.processes)
	slots := make(chan struct{}, 4)
	errs := make([]error, len(f.instances))
	var all sync.WaitGroup
	for i := range f.instances {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			p, err := spawn(ctx, f.env.binary, f.env.vars, nil)
			f.instances[i], errs[i] = &instance{p: p}, err
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (f *fleetRun) stop() error {
	var errs []error
	for _, i := range f.instances {
		if i != nil && i.p != nil {
			errs = append(errs, i.p.stop())
		}
	}
	return errors.Join(errs...)
}

// run goes through the phases and reports each.
func (f *fleetRun) run(ctx context.Context) (err error) {
	e, cfg := f.env, f.cfg
	shared := "without a table"
	if cfg.table {
		shared = "with a shared table"
	}
	fmt.Fprintf(f.out, "%d processes %s, tokens that live %v\n", cfg.processes, shared, cfg.life)
	f.phase("start", func(*callLog) { err = f.start(ctx) })
	if err != nil {
		return err
	}
	if cfg.tableDown {
		e.hangTable()
	}
	if cfg.killHolder {
		e.issuer.Misbehave(f.killHolder())
	}
	f.phase("cold start", f.callAtOnce)
	e.issuer.Behave()
	if cfg.wrongSecret {
		if err := e.storeSecret(firstSecret); err != nil {
			return err
		}
		f.phase("corrected", f.callAtOnce)
	}
	if cfg.lives > 0 {
		f.phase(fmt.Sprintf("%d lives", cfg.lives), func(log *callLog) {
			var all sync.WaitGroup
			all.Go(func() { f.inject(ctx, log) })
			f.callRepeatedly(ctx, log, time.Duration(cfg.lives)*cfg.life)
			all.Wait()
		})
	}
	return ctx.Err()
}

// callAtOnce makes one call for each caller, all at the same time.
func (f *fleetRun) callAtOnce(log *callLog) {
	var all sync.WaitGroup
	for i := range f.cfg.callers {
		all.Go(func() { f.call(log, i%len(f.instances)) })
	}
	all.Wait()
}

// callRepeatedly calls every process for a time, with a short pause between calls.
func (f *fleetRun) callRepeatedly(ctx context.Context, log *callLog, d time.Duration) {
	end := time.Now().Add(d)
	var all sync.WaitGroup
	for i := range f.instances {
		all.Go(func() {
			for time.Now().Before(end) && ctx.Err() == nil {
				f.call(log, i)
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	all.Wait()
}

// inject makes the faults of the middle third that the flags ask for.
func (f *fleetRun) inject(ctx context.Context, log *callLog) {
	third := time.Duration(f.cfg.lives) * f.cfg.life / 3
	sleep(ctx, third)
	if f.cfg.issuerDown {
		f.env.issuer.Misbehave(oauthtest.Answer(http.StatusServiceUnavailable, "", ""))
	}
	sleep(ctx, third/2)
	if f.cfg.rotate {
		log.fail(f.env.rotate(secondSecret))
	}
	sleep(ctx, third/2)
	f.env.issuer.Behave()
}

// call sends one event to a process. The time that it records includes the wait until
// the process is free.
func (f *fleetRun) call(log *callLog, i int) {
	one := f.instances[i]
	begin := time.Now()
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.p == nil {
		return // Lambda would start another process
	}
	one.sent++
	_, failed, err := one.p.send([]byte(`{"client":"billing"}`), fmt.Sprintf("instance-%d-%d", i, one.sent))
	if err != nil {
		log.died()
		_ = one.p.stop()
		one.p = nil
		return
	}
	log.answered(one.p.answer.Bytes(), failed, time.Since(begin))
}

// killHolder returns a fault that kills the process of the first token request and drops
// the request. The correlation id, which is the event's id, names the process.
func (f *fleetRun) killHolder() oauthtest.Fault {
	var once sync.Once
	return func(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
		killed := false
		once.Do(func() {
			number, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("X-Correlationid"), "instance-"), "-")
			if i, err := strconv.Atoi(number); err == nil && i >= 0 && i < len(f.instances) {
				// The mutex is not needed: the call that waits for the answer holds it.
				_ = f.instances[i].p.cmd.Process.Kill()
				killed = true
			}
		})
		if killed {
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	}
}
