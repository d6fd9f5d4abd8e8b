package registry

import "testing"

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
