package awsapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"tokenvendor/shared/secret"
)

// pages answers ListSecrets with two secrets a page.
func pages(names ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			NextToken string
			Filters   []struct{ Key string }
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || len(in.Filters) != 1 || in.Filters[0].Key != "name" {
			http.Error(w, "{}", http.StatusBadRequest)
			return
		}
		at := 0
		_, _ = fmt.Sscan(in.NextToken, &at)
		out := map[string]any{}
		var list []map[string]string
		for _, name := range names[at:min(at+2, len(names))] {
			list = append(list, map[string]string{"Name": name})
		}
		if out["SecretList"] = list; at+2 < len(names) {
			out["NextToken"] = fmt.Sprint(at + 2)
		}
		_ = json.NewEncoder(w).Encode(out)
	}
}

func TestListReturnsAllPages(t *testing.T) {
	secrets, calls := newSecrets(t, pages("p/clients/a", "p/clients/b", "P/clients/c", "p/clients/d/e", "p/clients/f"))
	names, err := secrets.List(t.Context(), "p/clients/")
	if err != nil || strings.Join(names, " ") != "a b d/e f" || calls.Load() != 3 {
		t.Errorf("got %q in %d calls, error %v; want a b d/e f in 3", names, calls.Load(), err)
	}
}

func TestListError(t *testing.T) {
	secrets, _ := newSecrets(t, respondJSON(400, map[string]any{"__type": "AccessDeniedException", "message": awsText}))
	_, err := secrets.List(t.Context(), "p/")
	if !errors.Is(err, secret.ErrDenied) {
		t.Fatalf("got error %v, want ErrDenied", err)
	}
	checkText(t, err)
}
