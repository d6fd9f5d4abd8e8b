package secretsmanager_test

import (
	"context"
	"errors"
	"flag"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"

	local "tokenvendor/scripts/local/secretsmanager"
)

// endpoint lets the suite be run against another Secrets Manager, to see that
// the suite asks for what others understand by the words too.
var endpoint = flag.String("endpoint", "", "run the suite against this `URL` instead of our own")

// suite is one test's view of an endpoint.
type suite struct {
	*testing.T
	api    *secretsmanager.Client
	prefix string // of the test's secrets: an endpoint may be shared
	ours   bool
}

func newSuite(t *testing.T) *suite {
	url := *endpoint
	if url == "" {
		server := httptest.NewServer(local.New(local.Config{Region: "eu-central-1", Account: "123456789012"}))
		t.Cleanup(server.Close)
		url = server.URL
	}
	credentials := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "x"}, nil
	})
	api := secretsmanager.New(secretsmanager.Options{Region: "eu-central-1", BaseEndpoint: &url, Credentials: credentials, RetryMaxAttempts: 1})
	return &suite{t, api, strings.ReplaceAll(t.Name(), "/", "-") + "/", *endpoint == ""}
}

// in is s for a subtest.
func (s *suite) in(t *testing.T) *suite { return &suite{t, s.api, s.prefix, s.ours} }

// differs reports whether a check must be left out because the endpoint is not
// ours and known to answer otherwise; what says how. moto_server 5.2.1 was tried.
func (s *suite) differs(what string) bool {
	if !s.ours {
		s.Logf("known difference: moto %s", what)
	}
	return !s.ours
}

// id makes a version id of the least length out of a word.
func id(word string) *string { return aws.String(word + strings.Repeat("-", 32-len(word))) }

func (s *suite) name(n string) *string { return aws.String(s.prefix + n) }

func (s *suite) create(n, version, value string) *secretsmanager.CreateSecretOutput {
	s.Helper()
	out, err := s.api.CreateSecret(s.Context(), &secretsmanager.CreateSecretInput{Name: s.name(n), ClientRequestToken: id(version), SecretString: &value})
	if err != nil {
		s.Fatal(err)
	}
	return out
}

func (s *suite) put(n, version, value string, stages ...string) {
	s.Helper()
	_, err := s.api.PutSecretValue(s.Context(), &secretsmanager.PutSecretValueInput{SecretId: s.name(n), ClientRequestToken: id(version), SecretString: &value, VersionStages: stages})
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) move(n, stage, to, from string) error {
	in := &secretsmanager.UpdateSecretVersionStageInput{SecretId: s.name(n), VersionStage: &stage}
	if to != "" {
		in.MoveToVersionId = id(to)
	}
	if from != "" {
		in.RemoveFromVersionId = id(from)
	}
	_, err := s.api.UpdateSecretVersionStage(s.Context(), in)
	return err
}

func (s *suite) moves(n, stage, to, from string) {
	s.Helper()
	if err := s.move(n, stage, to, from); err != nil {
		s.Fatal(err)
	}
}

// wantStages compares all labels, given as "version:LABEL,LABEL".
func (s *suite) wantStages(n string, want ...string) {
	s.Helper()
	out, err := s.api.DescribeSecret(s.Context(), &secretsmanager.DescribeSecretInput{SecretId: s.name(n)})
	if err != nil {
		s.Fatal(err)
	}
	var got []string
	for _, version := range slices.Sorted(maps.Keys(out.VersionIdsToStages)) {
		if stages := slices.Sorted(slices.Values(out.VersionIdsToStages[version])); len(stages) > 0 {
			got = append(got, strings.TrimRight(version, "-")+":"+strings.Join(stages, ","))
		}
	}
	if !slices.Equal(got, want) {
		s.Errorf("labels are %q, want %q", got, want)
	}
}

func (s *suite) wantValue(n, stage, want string) {
	s.Helper()
	in := &secretsmanager.GetSecretValueInput{SecretId: s.name(n)}
	if stage != "" {
		in.VersionStage = &stage
	}
	out, err := s.api.GetSecretValue(s.Context(), in)
	if err != nil {
		s.Fatal(err)
	}
	if got := aws.ToString(out.SecretString); got != want {
		s.Errorf("stage %q holds %q, want %q", stage, got, want)
	}
}

func (s *suite) wantCode(err error, want string) {
	s.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != want {
		s.Errorf("error is %v, want %s", err, want)
	}
}

func TestGetSecretValue(t *testing.T) {
	s := newSuite(t)
	created := s.create("a", "v1", "one")
	s.put("a", "v2", "two")
	for name, tt := range map[string]struct {
		in   secretsmanager.GetSecretValueInput
		want string
	}{
		"name":            {secretsmanager.GetSecretValueInput{SecretId: s.name("a")}, "two"},
		"ARN":             {secretsmanager.GetSecretValueInput{SecretId: created.ARN}, "two"},
		"ARN, no suffix":  {secretsmanager.GetSecretValueInput{SecretId: aws.String((*created.ARN)[:len(*created.ARN)-7])}, "two"},
		"previous":        {secretsmanager.GetSecretValueInput{SecretId: s.name("a"), VersionStage: aws.String("AWSPREVIOUS")}, "one"},
		"version":         {secretsmanager.GetSecretValueInput{SecretId: s.name("a"), VersionId: id("v1")}, "one"},
		"version + stage": {secretsmanager.GetSecretValueInput{SecretId: s.name("a"), VersionId: id("v2"), VersionStage: aws.String("AWSCURRENT")}, "two"},
	} {
		out, err := s.api.GetSecretValue(t.Context(), &tt.in)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if aws.ToString(out.SecretString) != tt.want || aws.ToString(out.Name) != *s.name("a") || out.VersionId == nil || out.CreatedDate == nil || out.SecretBinary != nil {
			t.Errorf("%s: %+v", name, out)
		}
	}
	for name, tt := range map[string]struct {
		in   secretsmanager.GetSecretValueInput
		want string
	}{
		"no secret":       {secretsmanager.GetSecretValueInput{SecretId: s.name("b")}, "ResourceNotFoundException"},
		"no such stage":   {secretsmanager.GetSecretValueInput{SecretId: s.name("a"), VersionStage: aws.String("AWSPENDING")}, "ResourceNotFoundException"},
		"no such version": {secretsmanager.GetSecretValueInput{SecretId: s.name("a"), VersionId: id("v9")}, "ResourceNotFoundException"},
		"other's stage":   {secretsmanager.GetSecretValueInput{SecretId: s.name("a"), VersionId: id("v1"), VersionStage: aws.String("AWSCURRENT")}, "InvalidRequestException"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.api.GetSecretValue(t.Context(), &tt.in)
			s.in(t).wantCode(err, tt.want)
		})
	}
}

// TestGetWhatWasPut: values come back byte for byte, up to the largest that there
// may be, however many bytes they take in JSON.
func TestGetWhatWasPut(t *testing.T) {
	s := newSuite(t)
	s.create("a", "v1", "one")
	for name, value := range map[string]string{
		"reserved":      "Sp@re: /+%&=ü <\"\\>\n\r\n\t'",
		"PEM":           "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n",
		"other planes":  "\U0001f511\u2028\u0000\u007f",
		"65536 bytes":   strings.Repeat("x", 65536),
		"65536 escaped": strings.Repeat("\u0001", 65536),
	} {
		s.put("a", strings.ReplaceAll(name, " ", "-"), value)
		out, err := s.api.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: s.name("a")})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := aws.ToString(out.SecretString); got != value {
			t.Errorf("%s: %d bytes came back, not the same %d", name, len(got), len(value))
		}
	}
}

func TestCreateSecret(t *testing.T) {
	s := newSuite(t)
	first := s.create("a", "v1", "one")
	if !strings.HasPrefix(*first.ARN, "arn:aws:secretsmanager:eu-central-1:123456789012:secret:"+*s.name("a")+"-") {
		t.Errorf("ARN is %s", *first.ARN)
	}
	_, err := s.api.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: s.name("a"), SecretString: aws.String("other")})
	s.wantCode(err, "ResourceExistsException")
	if again := s.create("a", "v1", "one"); *again.ARN != *first.ARN {
		t.Error("a repeated creation made another secret")
	}
	if !s.differs("takes any name, and a value of any size") {
		_, err = s.api.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("a b"), SecretString: aws.String("x")})
		s.wantCode(err, "InvalidParameterException")
		_, err = s.api.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: s.name("big"), SecretString: aws.String(strings.Repeat("x", 65537))})
		s.wantCode(err, "InvalidParameterException")
	}
	binary, err := s.api.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: s.name("binary"), SecretBinary: []byte{0, 255}})
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.api.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: binary.ARN})
	if err != nil || string(out.SecretBinary) != "\x00\xff" || out.SecretString != nil {
		t.Errorf("%v, %v", out, err)
	}
}

func TestPutSecretValue(t *testing.T) {
	s := newSuite(t)
	s.create("a", "v1", "one")
	s.put("a", "v2", "two", "AWSPENDING")
	s.wantStages("a", "v1:AWSCURRENT", "v2:AWSPENDING")
	s.wantValue("a", "", "one")
	s.wantValue("a", "AWSPENDING", "two")
	s.put("a", "v3", "three")
	s.wantStages("a", "v1:AWSPREVIOUS", "v2:AWSPENDING", "v3:AWSCURRENT")
	s.put("a", "v3", "three")
	_, err := s.api.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: s.name("a"), ClientRequestToken: id("v3"), SecretString: aws.String("other")})
	s.wantCode(err, "ResourceExistsException")
	s.wantValue("a", "", "three")
	_, err = s.api.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: s.name("b"), SecretString: aws.String("x")})
	s.wantCode(err, "ResourceNotFoundException")
}

func TestUpdateSecret(t *testing.T) {
	s := newSuite(t)
	s.create("a", "v1", "one")
	_, err := s.api.UpdateSecret(t.Context(), &secretsmanager.UpdateSecretInput{SecretId: s.name("a"), ClientRequestToken: id("v2"), SecretString: aws.String("two"), Description: aws.String("d")})
	if err != nil {
		t.Fatal(err)
	}
	s.wantStages("a", "v1:AWSPREVIOUS", "v2:AWSCURRENT")
	_, err = s.api.UpdateSecret(t.Context(), &secretsmanager.UpdateSecretInput{SecretId: s.name("a"), Description: aws.String("e")})
	if err != nil {
		t.Fatal(err)
	}
	s.wantValue("a", "", "two")
	out, err := s.api.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: s.name("a")})
	if err != nil || aws.ToString(out.Description) != "e" || out.CreatedDate == nil || out.LastChangedDate == nil {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestRotation goes through the four steps of a rotation function as AWS calls
// it, the first of them twice, and back again.
func TestRotation(t *testing.T) {
	s := newSuite(t)
	s.create("a", "v1", "one")

	// createSecret: the new version is pending, and nobody gets it.
	for range 2 {
		_, err := s.api.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{
			SecretId: s.name("a"), ClientRequestToken: id("v2"), SecretString: aws.String("two"),
			VersionStages: []string{"AWSPENDING"}, RotationToken: aws.String(strings.Repeat("r", 36)),
		})
		if err != nil {
			t.Fatal(err)
		}
		s.wantStages("a", "v1:AWSCURRENT", "v2:AWSPENDING")
		s.wantValue("a", "", "one")
	}

	// testSecret: by id and stage, as the event gives them.
	pending, err := s.api.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: s.name("a"), VersionId: id("v2"), VersionStage: aws.String("AWSPENDING")})
	if err != nil || *pending.SecretString != "two" {
		t.Fatalf("%v, %v", pending, err)
	}

	// finishSecret.
	s.wantCode(s.move("a", "AWSCURRENT", "v2", ""), "InvalidParameterException")
	s.wantCode(s.move("a", "AWSCURRENT", "v2", "v2"), "InvalidParameterException")
	if !s.differs("takes AWSCURRENT away without giving it to another version") {
		s.wantCode(s.move("a", "AWSCURRENT", "", "v1"), "InvalidParameterException")
	}
	s.moves("a", "AWSCURRENT", "v2", "v1")
	s.wantStages("a", "v1:AWSPREVIOUS", "v2:AWSCURRENT,AWSPENDING")
	s.moves("a", "AWSPENDING", "", "v2")
	s.wantStages("a", "v1:AWSPREVIOUS", "v2:AWSCURRENT")
	s.wantValue("a", "AWSCURRENT", "two")
	if !s.differs("goes on with the old value where no stage is named") {
		s.wantValue("a", "", "two")
	}

	// Rolled back.
	s.moves("a", "AWSCURRENT", "v1", "v2")
	s.wantStages("a", "v1:AWSCURRENT", "v2:AWSPREVIOUS")
	s.wantValue("a", "AWSCURRENT", "one")
	s.wantValue("a", "AWSPREVIOUS", "two")
	s.wantValue("a", "", "one")
}

// TestRotationGivenUp: a pending version whose label is taken away has none, and
// the next attempt starts with another one.
func TestRotationGivenUp(t *testing.T) {
	s := newSuite(t)
	s.create("a", "v1", "one")
	s.put("a", "v2", "two", "AWSPENDING")
	s.moves("a", "AWSPENDING", "", "v2")
	s.wantStages("a", "v1:AWSCURRENT")
	out, err := s.api.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: s.name("a"), VersionId: id("v2")})
	if err != nil || *out.SecretString != "two" || len(out.VersionStages) != 0 {
		t.Errorf("%v, %v", out, err)
	}
	s.put("a", "v3", "three", "AWSPENDING")
	s.put("a", "v4", "four", "AWSPENDING") // takes the label
	s.wantStages("a", "v1:AWSCURRENT", "v4:AWSPENDING")
}

func TestUpdateSecretVersionStage(t *testing.T) {
	s := newSuite(t)
	s.create("a", "v1", "one")
	s.put("a", "v2", "two", "mine")
	s.wantValue("a", "mine", "two")
	s.moves("a", "mine", "v1", "v2")
	s.wantStages("a", "v1:AWSCURRENT,mine")
	s.moves("a", "yours", "v2", "")
	s.wantValue("a", "yours", "two")
	if !s.differs("answers an unknown version with InvalidParameterException") {
		s.wantCode(s.move("a", "mine", "v9", "v1"), "ResourceNotFoundException")
		s.wantCode(s.move("a", "mine", "", "v9"), "ResourceNotFoundException")
	}
	if !s.differs("takes a move to nowhere") {
		s.wantCode(s.move("a", "mine", "", ""), "InvalidParameterException")
	}
	s.wantCode(s.move("b", "mine", "v1", ""), "ResourceNotFoundException")
}

func TestDeleteAndRestore(t *testing.T) {
	s := newSuite(t)
	s.create("a", "v1", "one")
	_, err := s.api.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: s.name("a"), RecoveryWindowInDays: aws.Int64(7), ForceDeleteWithoutRecovery: aws.Bool(true)})
	s.wantCode(err, "InvalidParameterException")
	_, err = s.api.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: s.name("a"), RecoveryWindowInDays: aws.Int64(6)})
	s.wantCode(err, "InvalidParameterException")
	if _, err = s.api.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: s.name("a")}); err != nil {
		t.Fatal(err)
	}
	get := &secretsmanager.GetSecretValueInput{SecretId: s.name("a")}
	_, err = s.api.GetSecretValue(t.Context(), get)
	s.wantCode(err, "InvalidRequestException")
	out, err := s.api.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: s.name("a")})
	if err != nil || out.DeletedDate == nil {
		t.Errorf("%+v, %v", out, err)
	}
	_, err = s.api.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: s.name("a"), SecretString: aws.String("x")})
	if !s.differs("says ResourceExistsException of a name that is scheduled for deletion") {
		s.wantCode(err, "InvalidRequestException")
	}
	if _, err := s.api.RestoreSecret(t.Context(), &secretsmanager.RestoreSecretInput{SecretId: s.name("a")}); err != nil {
		t.Fatal(err)
	}
	s.wantValue("a", "", "one")
	if _, err = s.api.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: s.name("a"), ForceDeleteWithoutRecovery: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	_, err = s.api.GetSecretValue(t.Context(), get)
	s.wantCode(err, "ResourceNotFoundException")
}

func TestListSecrets(t *testing.T) {
	s := newSuite(t)
	for _, n := range []string{"x/a", "x/b", "x/c", "y/a"} {
		s.create(n, "v1", "one")
	}
	filters := []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{*s.name("x/")}}}
	var names []string
	pages := secretsmanager.NewListSecretsPaginator(s.api, &secretsmanager.ListSecretsInput{Filters: filters, MaxResults: aws.Int32(2)})
	n := 0
	for ; pages.HasMorePages(); n++ {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range page.SecretList {
			names = append(names, strings.TrimPrefix(*entry.Name, s.prefix))
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"x/a", "x/b", "x/c"}) || n != 2 {
		t.Errorf("%d pages with %q", n, names)
	}
}

func TestBatchGetSecretValue(t *testing.T) {
	s := newSuite(t)
	s.create("a", "v1", "one")
	s.create("b", "v1", "two")
	out, err := s.api.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: []string{*s.name("a"), *s.name("nobody"), *s.name("b")}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.SecretValues) != 2 || len(out.Errors) != 1 || *out.Errors[0].ErrorCode != "ResourceNotFoundException" || *out.Errors[0].SecretId != *s.name("nobody") {
		t.Errorf("%+v", out)
	}
	if !s.differs("takes more than 20 in a batch") {
		_, err = s.api.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: make([]string, 21)})
		s.wantCode(err, "InvalidParameterException")
	}
}

func TestTagResource(t *testing.T) {
	s := newSuite(t)
	_, err := s.api.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: s.name("a"), SecretString: aws.String("one"), Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("shop")}}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.api.TagResource(t.Context(), &secretsmanager.TagResourceInput{SecretId: s.name("a"), Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("billing")}, {Key: aws.String("stage"), Value: aws.String("test")}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = s.api.UntagResource(t.Context(), &secretsmanager.UntagResourceInput{SecretId: s.name("a"), TagKeys: []string{"stage", "nothing"}}); err != nil {
		t.Fatal(err)
	}
	out, err := s.api.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: s.name("a")})
	if err != nil || len(out.Tags) != 1 || *out.Tags[0].Key != "team" || *out.Tags[0].Value != "billing" {
		t.Errorf("%+v, %v", out, err)
	}
}
