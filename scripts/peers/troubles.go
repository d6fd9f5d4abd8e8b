package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

const (
	// answerTime is the timeout of the function.
	answerTime = 25 * time.Second
	// recoveryTime bounds the time from the end of the trouble to a token: a failed exchange
	// is remembered for at most 30 seconds.
	recoveryTime = 35 * time.Second
)

// troubleCase is a client with a kind of trouble in front of the server, and its result.
type troubleCase struct {
	row
	trouble  oauthtest.Trouble
	first    answer        // during the trouble
	answered time.Duration // to the first answer
	recovery time.Duration // from the end of the trouble to a token
	problem  string
	tally
}

// troubles returns a case for each kind of trouble; none if the server takes no secrets.
func (e *env) troubles(p *peer) (all []troubleCase) {
	if !p.takesSecrets() {
		return nil
	}
	for i, trouble := range oauthtest.Troubles() {
		all = append(all, troubleCase{row: e.secretRow(fmt.Sprint("trouble-", i), p.secretMethod(), trouble.Name), trouble: trouble})
	}
	return all
}

// askInTrouble runs all cases at once, each with a proxy of its own.
func (e *env) askInTrouble(ctx context.Context, s *server, v *verifier, all []troubleCase) {
	var asked sync.WaitGroup
	for i := range all {
		asked.Go(func() {
			if err := e.askThroughProxy(ctx, s, v, &all[i]); err != nil {
				all[i].problem = err.Error()
			}
		})
	}
	asked.Wait()
}

// askThroughProxy asks for a token during the trouble, and then until there is one.
func (e *env) askThroughProxy(ctx context.Context, s *server, v *verifier, out *troubleCase) (err error) {
	endpoint := s.TokenEndpoint
	if endpoint == "" {
		endpoint = v.TokenEndpoint
	}
	host, path, _ := strings.Cut(strings.TrimPrefix(endpoint, "https://"), "/")
	proxy, err := oauthtest.StartProxy(oauthtest.ProxyConfig{Target: "https://" + host, CA: e.ca})
	if err != nil {
		return err
	}
	defer proxy.Close()
	out.document["token_endpoint"] = proxy.URL() + "/" + path
	if err := errors.Join(e.store(s, out.row), proxy.Make(out.trouble)); err != nil {
		return err
	}
	begin := time.Now()
	if out.first, err = e.direct(ctx, out.client, nil); err != nil {
		return err
	}
	out.answered = time.Since(begin)
	if err := proxy.Make(oauthtest.Trouble{}); err != nil {
		return err
	}
	begin = time.Now()
	for got := out.first; got.Token == ""; {
		if got, err = e.direct(ctx, out.client, nil); err != nil {
			return err
		}
		if out.recovery = time.Since(begin); out.recovery > recoveryTime {
			return errors.New("no token after the trouble: " + got.Error)
		}
		e.addSecret(got.Token)
		time.Sleep(200 * time.Millisecond)
	}
	e.addSecret(out.first.Token)
	return nil
}

// check says what is wrong with the result; empty: nothing. It needs the counts of the
// whole run.
func (out *troubleCase) check() string {
	switch {
	case out.problem != "":
		return out.problem
	case out.answered > answerTime:
		return "an answer after the timeout"
	case out.first.Token == "" && out.first.Error != "temporarily_unavailable" && out.first.Error != "server_error":
		return "the error " + orNone(out.first.Error)
	case out.first.Token != "" && !out.trouble.Passed:
		return "a token, although the server cannot have answered"
	case out.failedLogons > 0:
		return "a logon with a right credential failed"
	case out.granted < 1 || out.granted > 1 && !out.trouble.Passed:
		return fmt.Sprintf("%d exchanges", out.granted)
	}
	return ""
}

// printTroubles prints all results and returns how many cases failed.
func printTroubles(out io.Writer, server string, all []troubleCase) (bad int) {
	if len(all) == 0 {
		return 0
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "server\ttrouble in front of it\tanswer\tafter\tthen a token after\ttoken requests\texchanges\t")
	for _, t := range all {
		first, recovery := "a token", "-"
		if t.first.Token == "" {
			first, recovery = orNone(t.first.Error), fmt.Sprintf("%.1f s", t.recovery.Seconds())
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%.1f s\t%s\t%d\t%d\t%s\n", server, t.trouble.Name, first, t.answered.Seconds(), recovery, t.requests, t.granted, verdict(t.check(), &bad))
	}
	_ = w.Flush()
	_, _ = fmt.Fprintf(out, "\n%d kinds of trouble, %d failed\n\n", len(all), bad)
	return bad
}
