package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

// idleTime is how long the function keeps an idle connection at most.
const idleTime = 20 * time.Second

// soak lets a fleet work for a time in which credentials change, servers are down and
// tokens expire, and compares what the processes hold at rest before, with every token,
// and afterwards.
func soak(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	length := flags.Duration("for", 10*time.Minute, "how long the fleet works, resting aside")
	// Longer than an exchange may take that nobody waits for any more.
	pause := flags.Duration("rest", idleTime+2*time.Second, "how long nobody asks before the processes are measured")
	cfg := stormFlags(flags, 4)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *length < 5*time.Second || cfg.processes < 2 {
		return errors.New("soak: -for must be at least 5s, -processes at least 2")
	}
	// In a shorter rest those that are idle look like those that are left behind.
	cfg.keepAlive = *pause > idleTime
	s, stop, err := newStorm(ctx, *cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	fmt.Fprintf(out, "%v, %d processes with %d events each, tokens that live %v, -seed %d\n", *length, cfg.processes, cfg.concurrency, faultLife, cfg.seed)
	// One process is spent on its goroutines now, the others at the end.
	before, spentBefore := s.rest(ctx, *pause, 0)
	changes := s.work(ctx, *length)
	after, spentAfter := s.rest(ctx, *pause, cfg.processes-1)
	if err := ctx.Err(); err != nil {
		return err
	}
	s.flat(out, "memory, MB", megabytes(before), megabytes(after), 1.5)
	s.flat(out, "file descriptors", most(before, fds), most(after, fds), 1.2)
	s.flat(out, "goroutines", spentBefore, spentAfter, 1.2)
	fmt.Fprintf(out, "  %-23s %d\n", "credential changes", changes)
	// Each process may fail once with each version, and the one that was begun with; one
	// process is another after the first rest.
	return s.report(out, (cfg.processes+1)*(changes+1))
}

// work sends requests for a time, in rounds. In each the credential changes and one
// server is in trouble for half of it. It returns how often the credential changed.
func (s *storm) work(ctx context.Context, length time.Duration) (changes int) {
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var callers sync.WaitGroup
	for i := range s.callers() {
		callers.Go(func() {
			for s.pause(ctx, 5*s.concurrency, 40*s.concurrency) {
				s.ask(ctx, i%len(s.fleet), s.next())
			}
		})
	}
	round := min(length/8, 15*time.Second)
	for ctx.Err() == nil {
		changes += s.change(ctx, round/6)
		s.outage(ctx, round/2)
		s.sleep(ctx, round/3)
	}
	callers.Wait()
	return changes
}

// change rotates the secret. Half the time a wrong one is stored first for a while.
func (s *storm) change(ctx context.Context, wrong time.Duration) (changes int) {
	secret := secondSecret
	if s.rotated {
		secret = firstSecret
	}
	if s.pick(2) == 0 {
		s.meets("credential", s.ground.put("wrong"))
		changes++
		s.sleep(ctx, wrong)
	}
	s.rotated = !s.rotated
	s.meets("credential", s.ground.rotateTo(secret))
	return changes + 1
}

// outage makes one server's proxy make one trouble. Each has its turn, so that what leaks
// when one of them fails does so before both measurements; the authorization server, on
// which most depends, every other time.
func (s *storm) outage(ctx context.Context, length time.Duration) {
	const issuer = "authorization server"
	places := []string{issuer, "Secrets Manager", issuer, "KMS", issuer, "STS", issuer, "DynamoDB"}
	kinds := oauthtest.Troubles()
	place := places[s.outages%len(places)]
	s.outages++
	proxy := s.ground.proxies[place]
	s.meets(place, proxy.Make(kinds[s.pick(len(kinds))]))
	s.sleep(ctx, length)
	s.meets("", proxy.Make(oauthtest.Trouble{}))
}

func (s *storm) sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// held is what a process holds; 0 where the system does not tell.
type held struct{ memory, fds int }

func fds(h held) int { return h.fds }

// rest lets the fleet get every token once more and then rest, measures it, and ends one
// process for the number of its goroutines.
func (s *storm) rest(ctx context.Context, pause time.Duration, spent int) (all []held, goroutines int) {
	s.calm(ctx)
	s.sleep(ctx, pause)
	for _, function := range s.fleet {
		all = append(all, holds(function.PID()))
	}
	return all, s.goroutines(ctx, spent)
}

func holds(pid int) (h held) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return h
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	if fields := strings.Fields(rest); len(fields) > 0 {
		h.memory, _ = strconv.Atoi(fields[0])
	}
	open, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	h.fds = len(open)
	return h
}

// goroutines ends a process by SIGQUIT, and counts the stacks that it prints; 0 where
// there is no such signal.
func (s *storm) goroutines(ctx context.Context, i int) int {
	function := s.fleet[i]
	process, err := os.FindProcess(function.PID())
	if err != nil || process.Signal(syscall.SIGQUIT) != nil {
		return 0
	}
	for function.PID() == process.Pid && ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stacks[i]
}

func most(all []held, of func(held) int) int {
	values := make([]int, 0, len(all))
	for _, h := range all {
		values = append(values, of(h))
	}
	return slices.Max(values)
}

func megabytes(all []held) int { return most(all, func(h held) int { return h.memory >> 10 }) }

// flat prints two numbers, and notes a problem if the second is that much more. It can't
// be told where one is unknown.
func (s *storm) flat(out io.Writer, what string, before, after int, ratio float64) {
	fmt.Fprintf(out, "  %-23s %d, at the end %d\n", what, before, after)
	if before > 0 && float64(after) > ratio*float64(before) {
		s.problem("%s: %d became %d", what, before, after)
	}
}
