package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

const (
	// answerTime is what the function has for an answer.
	answerTime = 25 * time.Second
	// recoveryTime bounds how long it may take until there is a token when all is well
	// again: a failed exchange is remembered for at most 30 seconds.
	recoveryTime = 35 * time.Second
)

// troubled is a client whose way to the server is in trouble, and what came of it.
type troubled struct {
	row
	trouble  oauthtest.Trouble
	first    answer        // while the trouble lasts
	answered time.Duration // until then
	again    time.Duration // from the trouble's end to a token
	problem  string
	tally
}

// troubles returns one for each kind of trouble; none if the server takes no secrets.
func (g *ground) troubles(p *peer) (all []troubled) {
	if !slices.Contains(p.Methods, p.secretMethod()) {
		return nil
	}
	for i, trouble := range oauthtest.Troubles() {
		all = append(all, troubled{row: g.secretRow(fmt.Sprint("trouble-", i), p.secretMethod(), trouble.Name), trouble: trouble})
	}
	return all
}

// suffer asks for the tokens of all at once, each through a proxy of its own.
func (g *ground) suffer(ctx context.Context, s *server, a *authority, all []troubled) {
	var asked sync.WaitGroup
	for i := range all {
		asked.Go(func() {
			if err := g.endure(ctx, s, a, &all[i]); err != nil {
				all[i].problem = err.Error()
			}
		})
	}
	asked.Wait()
}

func (g *ground) endure(ctx context.Context, s *server, a *authority, out *troubled) (err error) {
	endpoint := s.TokenEndpoint
	if endpoint == "" {
		endpoint = a.TokenEndpoint
	}
	host, path, _ := strings.Cut(strings.TrimPrefix(endpoint, "https://"), "/")
	proxy, err := oauthtest.StartProxy(oauthtest.ProxyConfig{Target: "https://" + host, CA: g.ca})
	if err != nil {
		return err
	}
	defer proxy.Close()
	out.document["token_endpoint"] = proxy.URL() + "/" + path
	if err := errors.Join(g.store(s, out.row), proxy.Make(out.trouble)); err != nil {
		return err
	}
	begin := time.Now()
	if out.first, err = g.direct(ctx, out.client, nil); err != nil {
		return err
	}
	out.answered = time.Since(begin)
	if err := proxy.Make(oauthtest.Trouble{}); err != nil {
		return err
	}
	begin = time.Now()
	for got := out.first; got.Token == ""; {
		if got, err = g.direct(ctx, out.client, nil); err != nil {
			return err
		}
		if out.again = time.Since(begin); out.again > recoveryTime {
			return errors.New("no token after it: " + got.Error)
		}
		g.hide(got.Token)
		time.Sleep(200 * time.Millisecond)
	}
	g.hide(out.first.Token)
	return nil
}

// judge says what is not as it must be. It needs the counts of the whole run.
func (out *troubled) judge() string {
	switch {
	case out.problem != "":
		return out.problem
	case out.answered > answerTime:
		return "the answer came after its deadline"
	case out.first.Token == "" && out.first.Error != "temporarily_unavailable" && out.first.Error != "server_error":
		return "the error is " + orNone(out.first.Error)
	case out.first.Token != "" && !out.trouble.Passed:
		return "a token out of nowhere"
	case out.failedLogons > 0:
		return "a right credential failed"
	case out.granted < 1 || out.granted > 1 && !out.trouble.Passed:
		return fmt.Sprintf("%d exchanges", out.granted)
	}
	return ""
}

// printTroubles prints what came of each, and returns how many are not as they must be.
func printTroubles(out io.Writer, server string, all []troubled) (bad int) {
	if len(all) == 0 {
		return 0
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "server\ttrouble before it\tanswer\tafter\tthen a token after\ttoken requests\texchanges\t")
	for _, t := range all {
		verdict, first, again := "ok", "a token", "-"
		if t.first.Token == "" {
			first, again = orNone(t.first.Error), fmt.Sprintf("%.1f s", t.again.Seconds())
		}
		if problem := t.judge(); problem != "" {
			verdict = "NOT OK: " + problem
			bad++
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%.1f s\t%s\t%d\t%d\t%s\n", server, t.trouble.Name, first, t.answered.Seconds(), again, t.requests, t.granted, verdict)
	}
	_ = w.Flush()
	_, _ = fmt.Fprintf(out, "\n%d kinds of trouble, %d not as they must be\n\n", len(all), bad)
	return bad
}
