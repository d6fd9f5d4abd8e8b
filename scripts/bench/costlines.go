package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"tokenvendor/scripts/bench/bill"
)

// costWay is a way to the function: the source of its audit lines, the alias that it invokes,
// and a sample event.
type costWay struct{ source, alias, file string }

func costWays() []costWay {
	return []costWay{{"rest", "http", "rest-v1.json"}, {"http", "http", "http-v2.json"}, {"url", "url", "function-url.json"}, {"direct", "direct", "direct.json"}}
}

// measureLines measures the lines and answers of a hit, and the access log's line.
func (e *costEnv) measureLines(ctx context.Context, figures *bill.Figures) error {
	figures.Line, figures.Answer = make(map[string]int), make(map[string]int)
	if err := e.start(1, false); err != nil {
		return err
	}
	took := make([]time.Duration, 0, 400)
	for _, way := range costWays() {
		event, err := sample(way.file)
		if err != nil {
			return err
		}
		for range cap(took) / len(costWays()) {
			begin := time.Now()
			answer, err := e.vend(ctx, 0, way.alias, event)
			if err != nil {
				return err
			}
			took = append(took, time.Since(begin))
			figures.Answer[way.source] = len(answer)
		}
	}
	figures.HitMilliseconds = int(math.Ceil(float64(median(took)) / float64(time.Millisecond)))
	if err := e.stop(); err != nil {
		return err
	}
	var rest []byte
	for line := range bytes.Lines(e.log.text) {
		var audit struct{ Outcome, Source string }
		if json.Unmarshal(line, &audit) != nil || audit.Outcome != "hit" {
			continue
		}
		line = deployed(line)
		figures.Line[audit.Source] = len(line)
		if audit.Source == "rest" {
			rest = append(rest, line...)
		}
	}
	if len(figures.Line) != len(costWays()) {
		return fmt.Errorf("cost: got hits of %d sources, want %d", len(figures.Line), len(costWays()))
	}
	access, err := accessLine()
	figures.AccessLine = len(access)
	stored, storedErr := compressed(rest)
	figures.Stored = float64(stored) / float64(len(rest))
	return errors.Join(err, storedErr)
}

// deployed returns a line as a deployed function writes it: with a revision, which the bench
// does not compile into the function.
func deployed(line []byte) []byte {
	return bytes.Replace(bytes.TrimSpace(line), []byte(`"version":"dev"`), []byte(`"version":"0123456789ab"`), 1)
}

func compressed(text []byte) (int, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(text)
	err = errors.Join(err, w.Close())
	return out.Len(), err
}

func sample(file string) ([]byte, error) {
	event, err := os.ReadFile(filepath.Join("events", file))
	if err != nil {
		return nil, fmt.Errorf("events/%s: run this in the repository", file)
	}
	return event, nil
}

// accessLine returns a line of the access log of template.yaml, for the call of
// events/rest-v1.json.
func accessLine() (string, error) {
	template, err := os.ReadFile("template.yaml")
	if err != nil {
		return "", errors.New("template.yaml: run this in the repository")
	}
	_, setting, _ := strings.Cut(string(template), "\n      AccessLogSetting:\n")
	setting, _, _ = strings.Cut(setting, "\n\n")
	members := regexp.MustCompile(`(?m)^ +- (?:- )?'(.*)'$`).FindAllStringSubmatch(setting, -1)
	text, err := sample("rest-v1.json")
	if err != nil {
		return "", err
	}
	var event struct {
		RequestContext struct {
			Path              string
			RequestID         string
			ExtendedRequestID string
			HTTPMethod        string
			RequestTimeEpoch  int64
			Identity          struct{ UserARN, Caller, SourceIP string }
		}
	}
	if err := json.Unmarshal(text, &event); err != nil {
		return "", err
	}
	context, identity := event.RequestContext, event.RequestContext.Identity
	values := strings.NewReplacer(
		"$context.path", context.Path, "$context.requestId", context.RequestID, "$context.extendedRequestId", context.ExtendedRequestID,
		"$context.requestTimeEpoch", fmt.Sprint(context.RequestTimeEpoch), "$context.httpMethod", context.HTTPMethod,
		"$context.identity.userArn", identity.UserARN, "$context.identity.caller", identity.Caller,
		"$context.identity.sourceIp", identity.SourceIP, "$context.identity.vpceId", "-",
		"$context.status", "200", "$context.error.responseType", "-", "$context.responseLatency", "12",
	)
	var all []string
	for _, member := range members {
		all = append(all, values.Replace(member[1]))
	}
	line := strings.Join(all, ",")
	if !json.Valid([]byte(line)) || strings.Contains(line, "$") || len(all) < 5 {
		return "", errors.New("template.yaml: the access log has another format than this program reads")
	}
	return line, nil
}
