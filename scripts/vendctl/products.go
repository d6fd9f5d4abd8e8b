package main

import (
	"slices"
	"strings"

	"tokenvendor/shared/registry"
)

// product is a product of SAP that shared/registry/README.md or a golden document of the registry
// describes.
type product struct{ name, title string }

// keyForm says what tells the service keys of a product from others. It is not what the vendor
// needs of a key: the registry reports that.
type keyForm struct {
	// service is the server that the key is for; empty: any.
	service string
	// within is the member that holds the key; empty: any.
	within string
	// members has the names of one member in each element, with a blank between them.
	members []string
}

// server is a token endpoint whose path is known, so that the tenant's host is enough.
type server struct{ path, method, host string }

func products() []product {
	return []product{
		{"identity", "SAP Cloud Identity Services"}, {"xsuaa", "SAP Authorization and Trust Management"}, {"ai-core", "SAP AI Core"},
		{"service-manager", "SAP Service Manager"}, {"process-automation", "SAP Build Process Automation"}, {"integration-suite", "SAP Integration Suite"},
		{"event-mesh", "SAP Event Mesh"}, {"datasphere", "SAP Datasphere"}, {"analytics-cloud", "SAP Analytics Cloud"}, {"api-management", "SAP API Management"},
		{"agent-gateway", "the agent gateway"}, {"destination", "a destination of SAP BTP"}, {"s4hana", "SAP S/4HANA Cloud"}, {"ariba", "SAP Ariba"},
	}
}

// key returns the form of the product's keys; ok is false if it has none.
func (p product) key() (form keyForm, ok bool) {
	form, ok = map[string]keyForm{
		"identity":           {service: "identity"},
		"xsuaa":              {service: "xsuaa"},
		"ai-core":            {service: "xsuaa", members: []string{"serviceurls"}},
		"service-manager":    {service: "xsuaa"},
		"process-automation": {service: "xsuaa", within: "uaa"},
		"integration-suite":  {members: []string{"tokenurl"}},
		"event-mesh":         {within: "oa2", members: []string{"tokenendpoint"}},
		"datasphere":         {members: []string{"clientId", "clientSecret secret", "tokenUrl"}},
		"analytics-cloud":    {members: []string{"clientId", "clientSecret secret", "tokenUrl"}},
		"api-management":     {members: []string{"clientId", "clientSecret", "tokenUrl"}},
		"agent-gateway":      {members: []string{"certificate", "privateKey key", "tokenServiceUrl", "gatewayUrl"}},
		"destination":        {members: []string{"clientId", "clientSecret", "tokenServiceURL"}},
	}[p.name]
	return form, ok
}

// server returns where the product's tenants have their token endpoint; ok is false if the host does
// not tell.
func (p product) server() (s server, ok bool) {
	s, ok = map[string]server{
		"identity": {path: "/oauth2/token"},
		"xsuaa":    {path: "/oauth/token"},
		"s4hana":   {path: "/sap/bc/sec/oauth2/token", method: "client_secret_basic"},
		"ariba":    {path: "/v2/oauth/token", method: "client_secret_basic", host: "api.ariba.com"},
	}[p.name]
	return s, ok
}

// missing returns what shows that a document holds no key of the product.
func (p product) missing(text []byte) (problems []string) {
	form, _ := p.key()
	add := func(what string) { problems = append(problems, what+": it is no key of "+p.title) }
	key, _ := registry.FindKey(text)
	if form.within != "" && key.Within != form.within {
		add(form.within + " is missing")
	}
	for _, names := range form.members {
		list := strings.Fields(names)
		if !slices.ContainsFunc(list, func(name string) bool { return slices.Contains(key.Members, name) }) {
			add(strings.Join(list, " or ") + " is missing")
		}
	}
	switch {
	case form.service == "" || form.service == key.Service:
	case form.service == "identity":
		add("url is missing or not that of a tenant of SAP Cloud Identity Services, without app_tid and domains beside it")
	default:
		add("url is missing or not that of a subaccount of XSUAA, without certurl, uaadomain and xsappname beside it")
	}
	return problems
}

// productNames are for the help and the completion of shells.
func productNames() (names []string) {
	for _, p := range products() {
		names = append(names, p.name)
	}
	return names
}

// findProduct returns a product by its name.
func findProduct(name string) (product, error) {
	for _, p := range products() {
		if p.name == name {
			return p, nil
		}
	}
	return product{}, usage("--sap must be one of %s", strings.Join(productNames(), ", "))
}
