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
	for code, in := range map[string]*secretsmanager.GetSecretValueInput{
		"ResourceNotFoundException": {SecretId: s.name("b")}, "InvalidRequestException": {SecretId: s.name("a"), VersionId: id("v1"), VersionStage: aws.String("AWSCURRENT")},
	} {
		if code == "InvalidRequestException" && !s.ours {
			continue // moto answers ResourceNotFoundException
		}
		_, err := s.api.GetSecretValue(t.Context(), in)
		s.wantCode(err, code)
	}
	_, err := s.api.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: s.name("a"), VersionStage: aws.String("AWSPENDING")})
	s.wantCode(err, "ResourceNotFoundException")
}

func TestCreateSecret(t *testing.T) {
	s := newSuite(t)
	first := s.create("a", "v1", "one")
	if !strings.HasPrefix(*first.ARN, "arn:aws:secretsmanager:eu-central-1:123456789012:secret:"+*s.name("a")+"-") {
		t.Errorf("ARN is %s", *first.ARN)
	}
	_, err := s.api.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: s.name("a"), SecretString: aws.String("other")})
	s.wantCode(err, "ResourceExistsException")
	if s.ours { // moto knows no repeated creation and takes any name
		if again := s.create("a", "v1", "one"); *again.ARN != *first.ARN {
			t.Error("a repeated creation made another secret")
		}
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
	if s.ours { // moto overwrites the version
		s.put("a", "v3", "three")
		_, err := s.api.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: s.name("a"), ClientRequestToken: id("v3"), SecretString: aws.String("other")})
		s.wantCode(err, "ResourceExistsException")
	}
	s.wantValue("a", "", "three")
	_, err := s.api.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: s.name("b"), SecretString: aws.String("x")})
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

// TestRotation goes through the four steps of a rotation, and back.
func TestRotation(t *testing.T) {
	s := newSuite(t)
	s.create("a", "v1", "one")
	s.put("a", "v2", "two", "AWSPENDING")
	s.wantCode(s.move("a", "AWSCURRENT", "v2", ""), "InvalidParameterException")
	if s.ours { // moto doesn't look who has the label
		s.wantCode(s.move("a", "AWSCURRENT", "v2", "v2"), "InvalidParameterException")
		s.wantCode(s.move("a", "AWSCURRENT", "", "v1"), "InvalidParameterException")
	}
	if err := s.move("a", "AWSCURRENT", "v2", "v1"); err != nil {
		t.Fatal(err)
	}
	if err := s.move("a", "AWSPENDING", "", "v2"); err != nil {
		t.Fatal(err)
	}
	s.wantStages("a", "v1:AWSPREVIOUS", "v2:AWSCURRENT")
	s.wantValue("a", "AWSCURRENT", "two")
	if err := s.move("a", "AWSCURRENT", "v1", "v2"); err != nil {
		t.Fatal(err)
	}
	s.wantStages("a", "v1:AWSCURRENT", "v2:AWSPREVIOUS")
	s.wantValue("a", "AWSCURRENT", "one")
	if s.ours { // moto goes on with the value that was put last
		s.wantValue("a", "", "one")
	}
	if err := s.move("a", "mine", "v2", ""); err != nil {
		t.Fatal(err)
	}
	s.wantValue("a", "mine", "two")
	s.wantCode(s.move("a", "mine", "v9", "v2"), map[bool]string{true: "ResourceNotFoundException", false: "InvalidParameterException"}[s.ours])
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
	s.wantCode(err, map[bool]string{true: "InvalidRequestException", false: "ResourceExistsException"}[s.ours])
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
	if s.ours {
		_, err = s.api.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: make([]string, 21)})
		s.wantCode(err, "InvalidParameterException")
	}
}
