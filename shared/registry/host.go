package registry

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// isSAP reports whether an issuer is a tenant of SAP Cloud Identity Services. Its token
// endpoint is not discovered, because older tenants name themselves without "https://" in
// their metadata. This chooses a default and grants no trust.
func isSAP(issuer string) bool {
	u, err := url.Parse(issuer)
	return err == nil && isTenant(strings.ToLower(u.Hostname()))
}

// isTenant reports whether a host is one of SAP Cloud Identity Services, where each tenant has a
// host under one of a few domains.
func isTenant(host string) bool {
	for _, domain := range [...]string{
		".accounts.ondemand.com", ".accounts.cloud.sap", ".accounts.sapcloud.cn",
		".trial-accounts.ondemand.com", ".accounts400.ondemand.com",
	} {
		if strings.HasSuffix(host, domain) && host != domain {
			return true
		}
	}
	return false
}

// isXSUAA reports whether a URL has a host of XSUAA (SAP Authorization and Trust Management):
// <subaccount>.authentication.<landscape>, or authentication.cert. for certificates.
func isXSUAA(text string) bool {
	_, ok := xsuaaBudget(plainHost(text))
	return ok
}

// takesCertificates reports whether a host of XSUAA is the one for certificates.
func takesCertificates(text string) bool {
	return strings.Contains(plainHost(text), ".authentication.cert.")
}

// isApplication reports whether a URL has a host of an application in SAP BTP's Cloud Foundry
// environment, as the runtime of SAP Integration Suite has. No token server is there.
func isApplication(text string) bool { return strings.Contains(plainHost(text), ".cfapps.") }

// plainHost returns the host of a URL in lower case and without its port.
func plainHost(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
}

// xsuaaBudget returns what the hosts of a subaccount in XSUAA have in common. ok is false for
// another host. SAP's landscapes in China have a domain of their own.
func xsuaaBudget(host string) (server string, ok bool) {
	subaccount, landscape, ok := strings.Cut(host, ".authentication.")
	if !ok || subaccount == "" || !strings.HasSuffix(landscape, ".hana.ondemand.com") && !strings.HasSuffix(landscape, ".platform.sapcloud.cn") {
		return "", false
	}
	return subaccount + ".authentication." + strings.TrimPrefix(landscape, "cert."), true
}

// hostOf returns the canonical host of an https URL: in lower case, without the dot of the
// root domain and without the default port. Other forms are the same server.
func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return canonicalHost(u)
}

func canonicalHost(u *url.URL) string {
	host, port := strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), u.Port()
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String() // an IPv4 address may be written as one of IPv6
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if n, err := strconv.Atoi(port); err == nil && n != 443 {
		host += ":" + strconv.Itoa(n)
	}
	return host
}

// canonicalURL returns an https URL with its canonical host.
func canonicalURL(u url.URL, host string) string {
	if u.Host = host; u.Path == "" {
		u.Path = "/"
	}
	return u.String()
}

// Budget returns the server whose limits count the requests to a canonical host, and whether it
// counts the requests of all clients together. SAP Cloud Identity Services does so by tenant,
// that is by host, and XSUAA by subaccount: both of its hosts together.
func Budget(host string) (server string, byHost bool) {
	if name, _, _ := strings.Cut(host, ":"); isTenant(name) {
		return host, true
	}
	if server, ok := xsuaaBudget(host); ok {
		return server, true
	}
	return host, false
}

const (
	// DefaultRate is how many exchanges per second a server gets from the whole deployment if
	// nobody says how many it bears.
	DefaultRate = 10
	// minRate and maxRate are the limits of what may be said. At minRate two seconds have one
	// exchange, so that a server never gets more than the rate by getting at least one.
	minRate, maxRate = 0.5, 1000
)

func parseRate(text string) (rate float64, ok bool) {
	rate, err := strconv.ParseFloat(text, 64)
	return rate, err == nil && rate >= minRate && rate <= maxRate
}

// ParseRates parses an operator's list of servers and how many exchanges per second each bears
// from the whole deployment, such as as.example.com=100 or as.example.com:8443=0.5. The result
// has the names of [Budget]. ok is false if an element is malformed, or a server is listed twice.
func ParseRates(list []string) (rates map[string]float64, ok bool) {
	rates = make(map[string]float64, len(list))
	for _, element := range list {
		end := max(0, strings.LastIndexByte(element, '='))
		rate, ok := parseRate(strings.TrimPrefix(element[end:], "="))
		u, err := url.Parse("https://" + element[:end])
		if !ok || err != nil || u.Host != element[:end] || u.Hostname() == "" {
			return nil, false
		}
		server, _ := Budget(hostOf(u.String()))
		if _, twice := rates[server]; twice {
			return nil, false
		}
		rates[server] = rate
	}
	return rates, true
}
