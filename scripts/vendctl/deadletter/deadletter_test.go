package deadletter_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"

	"tokenvendor/scripts/local/sqs"
	"tokenvendor/scripts/vendctl/deadletter"
)

type inMemory struct{ h http.Handler }

func (m inMemory) Do(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	in := httptest.NewRequest(r.Method, r.URL.String(), bytes.NewReader(body)).WithContext(r.Context())
	in.Header = r.Header
	w := httptest.NewRecorder()
	m.h.ServeHTTP(w, in)
	return w.Result(), nil
}

func queues() (*sqs.Server, func() *deadletter.Queue) {
	s := sqs.New(sqs.Config{Region: "eu-central-1", Account: "123456789012"})
	s.AddQueue("dead", sqs.Queue{})
	s.AddQueue("orders", sqs.Queue{Visibility: time.Hour})
	api := awssqs.NewFromConfig(aws.Config{Region: "eu-central-1", BaseEndpoint: aws.String("http://localhost"), HTTPClient: inMemory{s},
		Credentials: credentials.NewStaticCredentialsProvider("AKIAAAAAAAAAAAAAAAAA", "x", "")})
	return s, func() *deadletter.Queue {
		return &deadletter.Queue{API: api, URL: "http://localhost/123456789012/dead", Orders: "http://localhost/123456789012/orders"}
	}
}

func bury(s *sqs.Server, original string) string {
	return s.Send("dead", `{"client":"billing"}`, map[string]string{"error": "access_denied", "error_description": "d", "message_id": original})
}

// A pause of more than five minutes between the receipt and the redrive (Ctrl-Z, less, a sleeping
// machine), while another operator puts the orders back.
func TestPausedRedriveDoesNoOrderTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, open := queues()
		for i := range 3 {
			bury(s, fmt.Sprint("original-", i))
		}
		first := true
		mine := open()
		for m, err := range mine.Messages(t.Context()) {
			if err != nil {
				break // the other operator has them
			}
			if first {
				first = false
				time.Sleep(6 * time.Minute)
				other := open()
				for o, err := range other.Messages(t.Context()) {
					if err != nil {
						t.Fatal(err)
					}
					if _, err := other.Redrive(t.Context(), o); err != nil {
						t.Fatal(err)
					}
				}
			}
			if _, err := mine.Redrive(t.Context(), m); err != nil {
				continue // too late
			}
		}
		if n := len(s.Messages("orders")); n != 3 {
			t.Errorf("three orders were put back %d times, want 3", n)
		}
	})
}

// The function buried an order twice: its time was over after the message was sent, and SQS
// delivered the order again.
func TestOrderThatIsThereTwiceIsDoneOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, open := queues()
		bury(s, "original")
		bury(s, "original")
		q := open()
		for m, err := range q.Messages(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if m.Left == "" {
				if _, err := q.Redrive(t.Context(), m); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n := len(s.Messages("orders")); n != 1 {
			t.Errorf("one order was put back %d times", n)
		}
	})
}

// A reader that is so slow that the first messages are visible again says that it did not read all.
func TestSlowReadingIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, open := queues()
		for i := range 30 {
			bury(s, fmt.Sprint("original-", i))
		}
		read, failed := 0, false
		q := open()
		for _, err := range q.Messages(t.Context()) {
			if failed = err != nil; !failed {
				read++
				time.Sleep(time.Minute)
			}
		}
		if read < 10 || read == 30 || !failed {
			t.Errorf("got %d of 30 messages and the error %t, want an error", read, failed)
		}
	})
}
