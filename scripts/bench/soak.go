package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

// idleTime is how long the function keeps an idle connection at most.
const idleTime = 20 * time.Second

// soak runs a fleet for a time in which credentials change, servers are down and tokens
// expire. It measures the idle processes, which have every token, before and after.
func soak(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	length := flags.Duration("for", 10*time.Minute, "how long the fleet works, without the idle times")
	// Longer than an abandoned exchange can take.
	idle := flags.Duration("rest", idleTime+2*time.Second, "how long the processes are idle before they are measured")
	cfg := faultFlags(flags, 4)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *length < 5*time.Second || cfg.processes < 2 {
		return errors.New("soak: -for must be at least 5s, -processes at least 2")
	}
	// After a shorter idle time, idle connections look like leaked ones.
	cfg.keepAlive = *idle > idleTime
	r, err := newFaultRun(ctx, *cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	fmt.Fprintf(out, "%v, %d processes with %d events each, tokens that live %v, -seed %d\n", *length, cfg.processes, cfg.concurrency, faultLife, cfg.seed)
	// Counting goroutines ends a process: the first one now, the last one at the end.
	before := r.measure(ctx, *idle, 0)
	changes := r.work(ctx, *length)
	after := r.measure(ctx, *idle, cfg.processes-1)
	if err := ctx.Err(); err != nil {
		return err
	}
	r.checks.checkGrowth(out, "memory, MB", before.megabytes, after.megabytes, 1.5)
	r.checks.checkGrowth(out, "file descriptors", before.files, after.files, 1.2)
	r.checks.checkGrowth(out, "goroutines", before.goroutines, after.goroutines, 1.2)
	fmt.Fprintf(out, "  %-23s %d\n", "credential changes", changes)
	// Each process may fail once with each version, the first one included. The process that
	// the first measurement ended was started again and counts twice.
	return r.report(out, (cfg.processes+1)*(changes+1))
}

// work sends requests for a time, in rounds. In each round the credential changes, and one
// server is in trouble for half of the round. It returns how often the credential changed.
func (r *faultRun) work(ctx context.Context, length time.Duration) (changes int) {
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var callers sync.WaitGroup
	for i := range r.callers() {
		callers.Go(func() {
			for r.pause(ctx, 5*r.concurrency, 40*r.concurrency) {
				r.ask(ctx, i%len(r.fleet), r.nextScope())
			}
		})
	}
	round := min(length/8, 15*time.Second)
	for ctx.Err() == nil {
		changes += r.changeSecret(ctx, round/6)
		r.outage(ctx, round/2)
		sleep(ctx, round/3)
	}
	callers.Wait()
	return changes
}

// changeSecret rotates the secret. Half the time it first stores a wrong one for a while.
func (r *faultRun) changeSecret(ctx context.Context, wrong time.Duration) (changes int) {
	secret := secondSecret
	if r.rotated {
		secret = firstSecret
	}
	if r.pick(2) == 0 {
		r.count("credential", r.env.storeSecret("wrong"))
		changes++
		sleep(ctx, wrong)
	}
	r.rotated = !r.rotated
	r.count("credential", r.env.rotate(secret))
	return changes + 1
}

// outage makes one kind of trouble in front of one server. The servers alternate, so that
// what leaks in an outage of one of them leaks before both measurements. Every other
// outage is the authorization server's, on which most depends.
func (r *faultRun) outage(ctx context.Context, length time.Duration) {
	const issuer = "authorization server"
	servers := []string{issuer, "Secrets Manager", issuer, "KMS", issuer, "STS", issuer, "DynamoDB"}
	kinds := oauthtest.Troubles()
	server := servers[r.outages%len(servers)]
	r.outages++
	proxy := r.env.proxies[server]
	r.count(server, proxy.Make(kinds[r.pick(len(kinds))]))
	sleep(ctx, length)
	r.count("", proxy.Make(oauthtest.Trouble{}))
}

// usage is what the processes use at most; 0 where the system does not tell.
type usage struct{ megabytes, files, goroutines int }

// measure waits until every process has every token and has been idle for a while, and
// measures them. It ends one process to count its goroutines.
func (r *faultRun) measure(ctx context.Context, idle time.Duration, ended int) (u usage) {
	r.recover(ctx, 1)
	sleep(ctx, idle)
	for _, function := range r.fleet {
		open, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", function.PID()))
		u.megabytes = max(u.megabytes, int(memory(function.PID(), "VmRSS")>>20))
		u.files = max(u.files, len(open))
	}
	u.goroutines = r.countGoroutines(ctx, ended)
	return u
}

// countGoroutines ends a process by SIGQUIT and counts the stacks that it prints; 0 where
// there is no such signal.
func (r *faultRun) countGoroutines(ctx context.Context, i int) int {
	function := r.fleet[i]
	process, err := os.FindProcess(function.PID())
	if err != nil || process.Signal(syscall.SIGQUIT) != nil {
		return 0
	}
	for function.PID() == process.Pid && ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
	}
	r.checks.mu.Lock()
	defer r.checks.mu.Unlock()
	return r.checks.stacks[i]
}

// checkGrowth prints two numbers and adds a problem if the second is more than ratio times
// the first. A first number of 0 is not known.
func (c *checker) checkGrowth(out io.Writer, what string, before, after int, ratio float64) {
	fmt.Fprintf(out, "  %-23s %d, at the end %d\n", what, before, after)
	if before > 0 && float64(after) > ratio*float64(before) {
		c.problem("%s: %d became %d", what, before, after)
	}
}
