package registry

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
)

// The budget of a server must not be multiplied by spellings of its name.
func TestOneServerHasOneHost(t *testing.T) {
	for url, want := range map[string]string{
		"https://AS.example/token":          "as.example",
		"https://as.example./token":         "as.example",
		"https://as.example:443/token":      "as.example",
		"https://as.example:0443/token":     "as.example",
		"https://as.example:/token":         "as.example",
		"https://as.example.:8443/token":    "as.example:8443",
		"https://as.example:08443/token":    "as.example:8443",
		"https://[2001:DB8:0::1]:443/token": "[2001:db8::1]",
		"https://[2001:db8::1]:8443/token":  "[2001:db8::1]:8443",
		"https://192.0.2.1:443/token":       "192.0.2.1",
		"https://[::ffff:192.0.2.1]/token":  "192.0.2.1",
		"://":                               "",
	} {
		if got := hostOf(url); got != want {
			t.Errorf("%s: got %s, want %s", url, got, want)
		}
	}
}

func TestBudget(t *testing.T) {
	type budget struct {
		server string
		byHost bool
	}
	for host, want := range map[string]budget{
		"as.example":                                      {"as.example", false},
		"as.example:8443":                                 {"as.example:8443", false},
		"t.accounts.ondemand.com":                         {"t.accounts.ondemand.com", true},
		"t.accounts.cloud.sap":                            {"t.accounts.cloud.sap", true},
		"accounts.ondemand.com":                           {"accounts.ondemand.com", false},
		"t.accounts.ondemand.com.example":                 {"t.accounts.ondemand.com.example", false},
		"s.authentication.eu10.hana.ondemand.com":         {"s.authentication.eu10.hana.ondemand.com", true},
		"s.authentication.cert.eu10.hana.ondemand.com":    {"s.authentication.eu10.hana.ondemand.com", true},
		"s.authentication.eu10-004.hana.ondemand.com":     {"s.authentication.eu10-004.hana.ondemand.com", true},
		"s.authentication.cert.cn40.platform.sapcloud.cn": {"s.authentication.cn40.platform.sapcloud.cn", true},
		".authentication.eu10.hana.ondemand.com":          {".authentication.eu10.hana.ondemand.com", false},
		"s.authentication.eu10.hana.ondemand.com.example": {"s.authentication.eu10.hana.ondemand.com.example", false},
		"s.authentication.example.com":                    {"s.authentication.example.com", false},
	} {
		if server, byHost := Budget(host); (budget{server, byHost}) != want {
			t.Errorf("%s: got %s, %v, want %+v", host, server, byHost, want)
		}
	}
}

func TestRateOfDocument(t *testing.T) {
	for text, want := range map[string]float64{`100`: 100, `"100"`: 100, `0.5`: 0.5, `1000`: 1000, `1e2`: 100, `""`: 0} {
		client, err := load(t, native(members{"client_secret": "s", "exchanges_per_second": json.RawMessage(text)}), nil)
		if err != nil || client.Rate != want || len(client.Notes) > 0 {
			t.Errorf("%s: got %v, %v, want %v", text, client, err, want)
		}
	}
	for _, text := range []string{`0`, `0.49`, `1001`, `-1`, `"NaN"`, `"Inf"`, `true`, `null`, `[100]`, `" 100"`} {
		_, err := load(t, native(members{"client_secret": "s", "exchanges_per_second": json.RawMessage(text)}), nil)
		if problems := problemsIn(t, err); problems != "exchanges_per_second must be a number from 0.5 to 1000" {
			t.Errorf("%s: got %q", text, problems)
		}
	}
}

// A document must not raise the load on a tenant of SAP, whose limit all of its clients share.
func TestRateAtSharedServer(t *testing.T) {
	for _, url := range []string{"https://acme.accounts.ondemand.com", "https://x.authentication.eu10.hana.ondemand.com"} {
		for rate, want := range map[float64]float64{100: DefaultRate, 11: DefaultRate, 10: 10, 2: 2} {
			key := members{"clientid": "c", "clientsecret": "s", "url": url}
			if strings.Contains(url, "hana") {
				key["xsappname"] = "x"
			}
			for name, document := range map[string]members{"wrapped": {"service_key": key, "exchanges_per_second": rate}, "native": {"client_id": "c", "client_secret": "s", "token_endpoint": url + "/oauth2/token", "exchanges_per_second": rate}} {
				client, err := load(t, must(json.Marshal(document)), nil)
				if err != nil {
					t.Fatal(err)
				}
				noted := len(client.Notes) == 1 && strings.HasPrefix(client.Notes[0], "exchanges_per_second: ")
				if client.Rate != want || noted != (rate > want) {
					t.Errorf("%s %s, rate %v: got %v, notes %q", name, url, rate, client.Rate, client.Notes)
				}
			}
		}
	}
}

// A changed rate takes effect although terms and credential are the same.
func TestChangedRateIsNoSameClient(t *testing.T) {
	var clients []*Client
	for _, rate := range []float64{20, 20, 30} {
		client, err := load(t, native(members{"client_secret": "s", "exchanges_per_second": rate}), nil)
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, client)
	}
	if !clients[0].same(clients[1]) || clients[0].same(clients[2]) {
		t.Errorf("got same %t and %t, want true and false", clients[0].same(clients[1]), clients[0].same(clients[2]))
	}
}

func TestParseRates(t *testing.T) {
	got, ok := ParseRates([]string{"AS.Example.=100", "as.example:8443=0.5", "x.authentication.cert.eu10.hana.ondemand.com=20", "[2001:DB8::1]:443=7"})
	want := map[string]float64{"as.example": 100, "as.example:8443": 0.5, "x.authentication.eu10.hana.ondemand.com": 20, "[2001:db8::1]": 7}
	if !ok || !maps.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, ok, want)
	}
	for _, list := range [][]string{
		{""}, {"as.example"}, {"=100"}, {"as.example="}, {"as.example=x"}, {"as.example=0.4"}, {"as.example=1001"}, {"as.example/path=5"}, {"user@as.example=5"},
		{"https://as.example=5"}, {"as.example=5", "AS.example:443=6"}, {"x.authentication.cert.eu10.hana.ondemand.com=5", "x.authentication.eu10.hana.ondemand.com=5"}, {"as.example?x=5"}, {":443=5"},
	} {
		if got, ok := ParseRates(list); ok {
			t.Errorf("%q: got %v", list, got)
		}
	}
}
