package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

// drill is what the fleet goes through.
type drill struct {
	processes, callers int
	life               time.Duration
	lives              int
	table              bool
	proxied            bool // all servers are reached through proxies,
	keepAlive          bool // which keep connections

	issuerDown, tableDown, wrongSecret, rotate, killHolder bool
}

// fleet runs a drill and reports what the servers counted.
func fleet(ctx context.Context, args []string, out io.Writer) (err error) {
	var d drill
	flags := flag.NewFlagSet("fleet", flag.ContinueOnError)
	flags.IntVar(&d.processes, "processes", 32, "processes of the function")
	flags.IntVar(&d.callers, "callers", 200, "callers at the cold start")
	flags.DurationVar(&d.life, "life", 10*time.Second, "life of a token")
	flags.IntVar(&d.lives, "lives", 3, "how many lives the fleet goes on for after the start")
	flags.BoolVar(&d.table, "table", true, "share a table")
	flags.BoolVar(&d.issuerDown, "issuer-down", false, "the authorization server is down for the middle third")
	flags.BoolVar(&d.tableDown, "table-down", false, "the table hangs from the start, the epoch's key aside")
	flags.BoolVar(&d.wrongSecret, "wrong-secret", false, "the secret is wrong at the start, and corrected afterwards")
	flags.BoolVar(&d.rotate, "rotate", false, "the secret is rotated in the middle: the old one dies as the new one becomes current")
	flags.BoolVar(&d.killHolder, "kill-holder", false, "the process that makes the first exchange is killed in it (SIGKILL)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if d.processes < 1 || d.callers < 1 || d.lives < 0 || d.life < time.Second {
		return errors.New("fleet: -processes and -callers must be at least 1, -life at least 1s")
	}
	dir, err := os.MkdirTemp("", "token-vendor-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := build(ctx, dir, &candidate{name: "token", pkg: "functions/token"}); err != nil {
		return err
	}
	g, err := newGround(dir, d)
	if err != nil {
		return err
	}
	defer g.stop()
	f := &formation{ground: g, drill: d, out: out}
	defer func() { err = errors.Join(err, f.stop()) }()
	return f.run(ctx, filepath.Join(dir, "token"))
}

// formation is a fleet under drill.
type formation struct {
	ground *ground
	drill  drill
	out    io.Writer
	ships  []*ship
}

// ship is one process, which takes one event at a time, as in Lambda.
type ship struct {
	mu   sync.Mutex
	p    *process // nil: it was killed; guarded by mu
	sent int      // guarded by mu
}

// start starts all processes, a few at a time: Lambda doesn't make them share a
// processor either.
func (f *formation) start(ctx context.Context, binary string) error {
	f.ships = make([]*ship, f.drill.processes)
	places := make(chan struct{}, 4)
	errs := make([]error, len(f.ships))
	var all sync.WaitGroup
	for i := range f.ships {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			p, err := spawn(ctx, binary, f.ground.env, nil)
			f.ships[i], errs[i] = &ship{p: p}, err
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (f *formation) stop() error {
	var errs []error
	for _, s := range f.ships {
		if s != nil && s.p != nil {
			errs = append(errs, s.p.stop())
		}
	}
	return errors.Join(errs...)
}

// run goes through the phases and reports each.
func (f *formation) run(ctx context.Context, binary string) (err error) {
	g, d := f.ground, f.drill
	shared := "without a table"
	if d.table {
		shared = "with a shared table"
	}
	fmt.Fprintf(f.out, "%d processes %s, tokens that live %v\n", d.processes, shared, d.life)
	f.phase("start", func(*log) { err = f.start(ctx, binary) })
	if err != nil {
		return err
	}
	if d.tableDown {
		g.tableDown(true)
	}
	if d.killHolder {
		g.issuer.Misbehave(f.killer())
	}
	f.phase("cold start", func(log *log) { f.herd(log, d.callers) })
	g.issuer.Behave()
	if d.wrongSecret {
		if err := g.correct(); err != nil {
			return err
		}
		f.phase("corrected", func(log *log) { f.herd(log, d.callers) })
	}
	if d.lives > 0 {
		f.phase(fmt.Sprintf("%d lives", d.lives), func(log *log) {
			var all sync.WaitGroup
			all.Go(func() { f.upset(ctx, log) })
			f.cruise(ctx, log, time.Duration(d.lives)*d.life)
			all.Wait()
		})
	}
	return ctx.Err()
}

// herd is callers who all come at once.
func (f *formation) herd(log *log, callers int) {
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() { f.call(log, i%len(f.ships)) })
	}
	all.Wait()
}

// cruise is callers who come again and again.
func (f *formation) cruise(ctx context.Context, log *log, d time.Duration) {
	end := time.Now().Add(d)
	var all sync.WaitGroup
	for i := range f.ships {
		all.Go(func() {
			for time.Now().Before(end) && ctx.Err() == nil {
				f.call(log, i)
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	all.Wait()
}

// upset breaks things while the fleet cruises.
func (f *formation) upset(ctx context.Context, log *log) {
	third := time.Duration(f.drill.lives) * f.drill.life / 3
	pause := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	pause(third)
	if f.drill.issuerDown {
		f.ground.issuer.Misbehave(oauthtest.Answer(http.StatusServiceUnavailable, "", ""))
	}
	pause(third / 2)
	if f.drill.rotate {
		log.note(f.ground.rotate())
	}
	pause(third / 2)
	f.ground.issuer.Behave()
}

// call is one caller's request to a process, waiting for its turn included.
func (f *formation) call(log *log, i int) {
	s := f.ships[i]
	begin := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.p == nil {
		return // nobody calls a dead process: Lambda would start another
	}
	s.sent++
	_, failed, err := s.p.send([]byte(`{"client":"billing"}`), fmt.Sprintf("ship-%d-%d", i, s.sent))
	switch {
	case err != nil:
		log.died()
		_ = s.p.stop()
		s.p = nil
	default:
		log.answered(s.p.answer.Bytes(), failed, time.Since(begin))
	}
}

// killer kills the process that makes the first exchange, in the middle of it. The
// correlation id, which is the event's id, says which one that is.
func (f *formation) killer() oauthtest.Fault {
	var once sync.Once
	return func(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
		killed := false
		once.Do(func() {
			number, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("X-Correlationid"), "ship-"), "-")
			if i, err := strconv.Atoi(number); err == nil && i >= 0 && i < len(f.ships) {
				// Its lock is held by the caller who waits for it.
				_ = f.ships[i].p.cmd.Process.Kill()
				killed = true
			}
		})
		if killed {
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	}
}
