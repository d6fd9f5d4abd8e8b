package secretsmanager_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
)

// endpoint runs the suite against another endpoint, such as moto_server, to prove that the
// suite expects what AWS does.
var endpoint = flag.String("endpoint", "", "run the suite against this `URL`")

// suite is a test's client of an endpoint.
type suite struct {
	*testing.T
	api    *secretsmanager.Client
	prefix string // of the names of the test's secrets, because tests may share an endpoint
	ours   bool
}

func newSuite(t *testing.T) *suite {
	t.Helper()
	url := *endpoint
	if url == "" {
		server := httptest.NewServer(newServer())
		t.Cleanup(server.Close)
		url = server.URL
	}
	return &suite{t, newClient(url), strings.ReplaceAll(t.Name(), "/", "-") + "/", *endpoint == ""}
}

func newClient(url string) *secretsmanager.Client {
	credentials := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "x"}, nil
	})
	return secretsmanager.New(secretsmanager.Options{Region: "eu-central-1", BaseEndpoint: &url, Credentials: credentials, RetryMaxAttempts: 1, HTTPClient: ownBody{}})
}

// in returns s for a subtest.
func (s *suite) in(t *testing.T) *suite { return &suite{t, s.api, s.prefix, s.ours} }

// differs reports whether a check must be skipped because the endpoint is moto_server, which
// is known not to behave like AWS here. moto_server 5.2.1 was tried.
func (s *suite) differs(how string) bool {
	if !s.ours {
		s.Logf("known difference: moto %s", how)
	}
	return !s.ours
}

// ownBody sends requests whose bodies the SDK cannot close: it does so as soon as a response begins,
// upon which net/http may close the connection in the middle of a large one.
type ownBody struct{}

// Do implements [secretsmanager.HTTPClient].
func (ownBody) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	own := r.WithContext(r.Context())
	own.Body = io.NopCloser(bytes.NewReader(body))
	return http.DefaultClient.Do(own)
}

// id returns a word that is extended to the shortest version id.
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

// wantStages compares the labels of all versions, each as "version:LABEL,LABEL".
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
		s.Errorf("got labels %q, want %q", got, want)
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
		s.Errorf("stage %q: got %q, want %q", stage, got, want)
	}
}

func (s *suite) wantCode(err error, want string) {
	s.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != want {
		s.Errorf("got error %v, want %s", err, want)
	}
}

func TestGetSecretValueFindsVersions(t *testing.T) {
	s := newSuite(t)
	created := s.create("a", "v1", "one")
	s.put("a", "v2", "two")
	for name, tt := range map[string]struct {
		in   secretsmanager.GetSecretValueInput
		want string
	}{
		"name":            {secretsmanager.GetSecretValueInput{SecretId: s.name("a")}, "two"},
		"ARN":             {secretsmanager.GetSecretValueInput{SecretId: created.ARN}, "two"},
		"previous":        {secretsmanager.GetSecretValueInput{SecretId: s.name("a"), VersionStage: aws.String("AWSPREVIOUS")}, "one"},
		"version":         {secretsmanager.GetSecretValueInput{SecretId: s.name("a"), VersionId: id("v1")}, "one"},
		"version + stage": {secretsmanager.GetSecretValueInput{SecretId: s.name("a"), VersionId: id("v2"), VersionStage: aws.String("AWSCURRENT")}, "two"},
	} {
		out, err := s.api.GetSecretValue(t.Context(), &tt.in)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if aws.ToString(out.SecretString) != tt.want || aws.ToString(out.Name) != *s.name("a") || out.VersionId == nil || out.CreatedDate == nil {
			t.Errorf("%s: got %+v, want %s", name, out, tt.want)
		}
	}
	for name, tt := range map[string]struct {
		in   secretsmanager.GetSecretValueInput
		want string
	}{
		"unknown secret":           {secretsmanager.GetSecretValueInput{SecretId: s.name("b")}, "ResourceNotFoundException"},
		"unknown stage":            {secretsmanager.GetSecretValueInput{SecretId: s.name("a"), VersionStage: aws.String("AWSPENDING")}, "ResourceNotFoundException"},
		"unknown version":          {secretsmanager.GetSecretValueInput{SecretId: s.name("a"), VersionId: id("v9")}, "ResourceNotFoundException"},
		"stage of another version": {secretsmanager.GetSecretValueInput{SecretId: s.name("a"), VersionId: id("v1"), VersionStage: aws.String("AWSCURRENT")}, "InvalidRequestException"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.api.GetSecretValue(t.Context(), &tt.in)
			s.in(t).wantCode(err, tt.want)
		})
	}
}

// A value is returned byte for byte, up to the largest size, even if JSON needs more bytes.
func TestGetReturnsWhatWasPut(t *testing.T) {
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
			t.Errorf("%s: got %d other bytes, want the same %d", name, len(got), len(value))
		}
	}
}

func TestCreateSecretCanBeRepeated(t *testing.T) {
	s := newSuite(t)
	first := s.create("a", "v1", "one")
	if !strings.HasPrefix(*first.ARN, "arn:aws:secretsmanager:eu-central-1:123456789012:secret:"+*s.name("a")+"-") {
		t.Errorf("got ARN %s, want the name in it", *first.ARN)
	}
	_, err := s.api.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: s.name("a"), SecretString: aws.String("other")})
	s.wantCode(err, "ResourceExistsException")
	if again := s.create("a", "v1", "one"); *again.ARN != *first.ARN {
		t.Errorf("repeated: got ARN %s, want %s", *again.ARN, *first.ARN)
	}
	if !s.differs("accepts any name, and a value of any size") {
		_, err = s.api.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("a b"), SecretString: aws.String("x")})
		s.wantCode(err, "InvalidParameterException")
		_, err = s.api.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: s.name("big"), SecretString: aws.String(strings.Repeat("x", 65537))})
		s.wantCode(err, "InvalidParameterException")
	}
	tags := []types.Tag{{Key: aws.String("token-vendor-managed"), Value: aws.String("true")}}
	if _, err = s.api.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: s.name("empty"), KmsKeyId: aws.String("alias/x"), Tags: tags}); err != nil {
		t.Fatal(err)
	}
	out, err := s.api.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: s.name("empty")})
	if err != nil || aws.ToString(out.KmsKeyId) != "alias/x" || len(out.Tags) != 1 || *out.Tags[0].Value != "true" || len(out.VersionIdsToStages) != 0 {
		t.Errorf("got %+v, %v, want a key, a tag and no version", out, err)
	}
	_, err = s.api.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: s.name("empty")})
	s.wantCode(err, "ResourceNotFoundException")
}

func TestPutSecretValueMovesLabels(t *testing.T) {
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

func TestUpdateSecretMakesItsValueCurrent(t *testing.T) {
	s := newSuite(t)
	s.create("a", "v1", "one")
	update := func(in secretsmanager.UpdateSecretInput) {
		t.Helper()
		in.SecretId = s.name("a")
		if _, err := s.api.UpdateSecret(t.Context(), &in); err != nil {
			t.Fatal(err)
		}
	}
	update(secretsmanager.UpdateSecretInput{ClientRequestToken: id("v2"), SecretString: aws.String("two")})
	s.wantStages("a", "v1:AWSPREVIOUS", "v2:AWSCURRENT")
	update(secretsmanager.UpdateSecretInput{KmsKeyId: aws.String("alias/y")})
	s.wantValue("a", "", "two")
	out, err := s.api.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: s.name("a")})
	if err != nil || aws.ToString(out.KmsKeyId) != "alias/y" || out.CreatedDate == nil || out.LastChangedDate == nil {
		t.Errorf("got %+v, %v, want the key alias/y", out, err)
	}
}

// The test calls what AWS's rotation functions call: the first step twice, and then a rollback.
func TestRotationAndRollback(t *testing.T) {
	s := newSuite(t)
	s.create("a", "v1", "one")

	// createSecret: the new version is pending, and GetSecretValue does not return it.
	for range 2 {
		_, err := s.api.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{
			SecretId: s.name("a"), ClientRequestToken: id("v2"), SecretString: aws.String("two"),
			VersionStages: []string{"AWSPENDING"},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.wantStages("a", "v1:AWSCURRENT", "v2:AWSPENDING")
		s.wantValue("a", "", "one")
	}

	// testSecret reads the version by the id and the stage.
	pending, err := s.api.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: s.name("a"), VersionId: id("v2"), VersionStage: aws.String("AWSPENDING")})
	if err != nil || *pending.SecretString != "two" {
		t.Fatalf("got %v, %v, want two", pending, err)
	}

	// finishSecret.
	s.wantCode(s.move("a", "AWSCURRENT", "v2", ""), "InvalidParameterException")
	s.wantCode(s.move("a", "AWSCURRENT", "v2", "v2"), "InvalidParameterException")
	if !s.differs("removes AWSCURRENT") {
		s.wantCode(s.move("a", "AWSCURRENT", "", "v1"), "InvalidParameterException")
	}
	s.moves("a", "AWSCURRENT", "v2", "v1")
	s.wantStages("a", "v1:AWSPREVIOUS", "v2:AWSCURRENT,AWSPENDING")
	s.moves("a", "AWSPENDING", "", "v2")
	s.wantStages("a", "v1:AWSPREVIOUS", "v2:AWSCURRENT")
	s.wantValue("a", "AWSCURRENT", "two")
	if !s.differs("returns the old value without a stage") {
		s.wantValue("a", "", "two")
	}

	// Rollback.
	s.moves("a", "AWSCURRENT", "v1", "v2")
	s.wantStages("a", "v1:AWSCURRENT", "v2:AWSPREVIOUS")
	s.wantValue("a", "AWSCURRENT", "one")
	s.wantValue("a", "AWSPREVIOUS", "two")
	s.wantValue("a", "", "one")
}

func TestAbandonedRotationLeavesNoLabel(t *testing.T) {
	s := newSuite(t)
	s.create("a", "v1", "one")
	s.put("a", "v2", "two", "AWSPENDING")
	s.moves("a", "AWSPENDING", "", "v2")
	s.wantStages("a", "v1:AWSCURRENT")
	out, err := s.api.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: s.name("a"), VersionId: id("v2")})
	if err != nil || *out.SecretString != "two" || len(out.VersionStages) != 0 {
		t.Errorf("got %v, %v, want two without labels", out, err)
	}
	s.put("a", "v3", "three", "AWSPENDING")
	s.put("a", "v4", "four", "AWSPENDING") // moves the label
	s.wantStages("a", "v1:AWSCURRENT", "v4:AWSPENDING")
}

func TestUpdateSecretVersionStageMovesOwnLabels(t *testing.T) {
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
	if !s.differs("accepts a move without a version") {
		s.wantCode(s.move("a", "mine", "", ""), "InvalidParameterException")
	}
	s.wantCode(s.move("b", "mine", "v1", ""), "ResourceNotFoundException")
}

func TestDeletedSecretCanBeRestored(t *testing.T) {
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
		t.Errorf("got %+v, %v, want the date of deletion", out, err)
	}
	_, err = s.api.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: s.name("a"), SecretString: aws.String("x")})
	if !s.differs("answers a name that is scheduled for deletion with ResourceExistsException") {
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

func TestListSecretsFiltersByPrefix(t *testing.T) {
	s := newSuite(t)
	for _, n := range []string{"x/b", "x/a", "y/a", "z/a"} {
		s.create(n, "v1", "one")
	}
	if _, err := s.api.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: s.name("x/b")}); err != nil {
		t.Fatal(err)
	}
	out, err := s.api.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{
		Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{*s.name("x/"), *s.name("y/")}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range out.SecretList {
		names = append(names, strings.TrimPrefix(*entry.Name, s.prefix))
		if len(entry.SecretVersionsToStages) != 1 {
			t.Errorf("%s: got %+v, want one version with a label", *entry.Name, entry)
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"x/a", "y/a"}) {
		t.Errorf("got %q, want x/a and y/a", names)
	}
}

// A list has pages, which together are complete.
func TestListSecretsHasPages(t *testing.T) {
	s := newSuite(t)
	for _, n := range []string{"p/a", "p/b", "p/c"} {
		s.create(n, "v1", "one")
	}
	size := int32(2)
	pages := secretsmanager.NewListSecretsPaginator(s.api, &secretsmanager.ListSecretsInput{
		MaxResults: &size, Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{*s.name("p/")}}},
	})
	var names []string
	for pages.HasMorePages() {
		out, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(out.SecretList) > 2 {
			t.Errorf("got a page of %d, want 2 at most", len(out.SecretList))
		}
		for _, entry := range out.SecretList {
			names = append(names, strings.TrimPrefix(*entry.Name, s.prefix))
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"p/a", "p/b", "p/c"}) {
		t.Errorf("got %q, want all three", names)
	}
}
