package secretsmanager_test

import (
	"strings"
	"testing"
)

// TestNameConfusion: a name that ends like an ARN's suffix is never taken for
// another secret, whatever the order in which they are looked at.
func TestNameConfusion(t *testing.T) {
	for range 20 { // maps have no order
		d := newDirect(t)
		plain := d.ok("CreateSecret", "{'Name':'billing','SecretString':'plain'}").ARN
		suffix := plain[len(plain)-7:]
		confusing := d.ok("CreateSecret", "{'Name':'billing"+suffix+"','SecretString':'confusing'}").ARN
		for id, want := range map[string]string{
			"billing": "plain", plain: "plain", "billing" + suffix: "confusing", confusing: "confusing",
			strings.TrimSuffix(plain, suffix): "plain",
		} {
			if got := d.ok("GetSecretValue", "{'SecretId':'"+id+"'}").SecretString; got != want {
				t.Errorf("%s is %s", id, got)
			}
		}
	}
}

func TestForeignARNs(t *testing.T) {
	d := newDirect(t)
	arn := d.ok("CreateSecret", "{'Name':'my-secret','SecretString':'x'}").ARN
	for name, id := range map[string]string{
		"other suffix":   arn[:len(arn)-6] + "aaaaaa",
		"other region":   strings.Replace(arn, "eu-central-1", "us-east-1", 1),
		"other account":  strings.Replace(arn, "123456789012", "210987654321", 1),
		"name in an ARN": arn + "/x",
		"prefix":         "my-secre",
		"case":           "My-Secret",
		// AWS takes -secret for a suffix: "my" is looked for, with that ARN.
		"partial ARN of a name that ends in six": strings.TrimSuffix(arn, arn[len(arn)-7:]),
	} {
		t.Run(name, func(t *testing.T) {
			d.in(t).fails("ResourceNotFoundException", "GetSecretValue", "{'SecretId':'"+id+"'}")
		})
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"a": "", "token-vendor/clients/billing": "", "A1/_+=.@-": "", strings.Repeat("a", 512): "",
		strings.Repeat("a", 513): "InvalidParameterException", "": "InvalidParameterException", "a b": "InvalidParameterException",
		"a:b": "InvalidParameterException", "ü": "InvalidParameterException", `a\nb`: "InvalidParameterException",
	} {
		if got := newDirect(t).call("CreateSecret", "{'Name':'"+name+"','SecretString':'x'}").Type; got != want {
			t.Errorf("%q: error is %q, want %q", name, got, want)
		}
	}
}
