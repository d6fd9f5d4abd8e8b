package secretsmanager_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func vid(n int) string { return fmt.Sprintf("%032d", n) }

// A version without a label can be read by its id until there are more than 100 versions. A
// version with a label is never dropped.
func TestOldVersionsWithoutLabelAreDropped(t *testing.T) {
	d := newDirect(t)
	d.ok("CreateSecret", "{'Name':'a','SecretString':'0','ClientRequestToken':'"+vid(0)+"'}")
	d.ok("UpdateSecretVersionStage", "{'SecretId':'a','VersionStage':'keep','MoveToVersionId':'"+vid(0)+"'}")
	put := func(n int) {
		d.ok("PutSecretValue", fmt.Sprintf("{'SecretId':'a','SecretString':'%d','ClientRequestToken':'%s'}", n, vid(n)))
	}
	for n := 1; n < 100; n++ {
		put(n)
	}
	if got := d.ok("GetSecretValue", "{'SecretId':'a','VersionId':'"+vid(1)+"'}"); got.SecretString != "1" || got.VersionStages != nil {
		t.Errorf("got %+v, want the value 1 without labels", got)
	}
	put(100)
	d.fails("ResourceNotFoundException", "GetSecretValue", "{'SecretId':'a','VersionId':'"+vid(1)+"'}")
	for n, want := range map[int]string{0: "0", 2: "2", 100: "100"} {
		if got := d.ok("GetSecretValue", "{'SecretId':'a','VersionId':'"+vid(n)+"'}"); got.SecretString != want {
			t.Errorf("version %d: got %q, want %q", n, got.SecretString, want)
		}
	}
}

func TestVersionsDoNotChange(t *testing.T) {
	d := newDirect(t)
	d.ok("CreateSecret", "{'Name':'a','SecretString':'one','ClientRequestToken':'"+vid(1)+"'}")
	d.ok("PutSecretValue", "{'SecretId':'a','SecretString':'two','ClientRequestToken':'"+vid(2)+"'}")
	for _, tt := range []struct{ name, operation, body, want string }{
		{"put, same", "PutSecretValue", "'SecretString':'one'", ""},
		{"put, same, other labels", "PutSecretValue", "'SecretString':'one','VersionStages':['AWSCURRENT']", ""},
		{"put, other", "PutSecretValue", "'SecretString':'other'", "ResourceExistsException"},
		// In UpdateSecret an existing token is an error with any value (API_UpdateSecret.html).
		{"update, same", "UpdateSecret", "'SecretString':'one'", "ResourceExistsException"},
		{"update, other", "UpdateSecret", "'SecretString':'other'", "ResourceExistsException"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := d.in(t).call(tt.operation, "{'SecretId':'a','ClientRequestToken':'"+vid(1)+"',"+tt.body+"}"); got.Type != tt.want {
				t.Errorf("got error %q, want %q", got.Type, tt.want)
			}
			stages := d.in(t).ok("DescribeSecret", "{'SecretId':'a'}").VersionIdsToStages
			if !slices.Equal(stages[vid(1)], []string{"AWSPREVIOUS"}) || !slices.Equal(stages[vid(2)], []string{"AWSCURRENT"}) {
				t.Errorf("got labels %v, want AWSPREVIOUS and AWSCURRENT as before", stages)
			}
		})
	}
}

func TestFirstVersionIsCurrent(t *testing.T) {
	d := newDirect(t)
	d.ok("CreateSecret", "{'Name':'a'}")
	d.fails("ResourceNotFoundException", "GetSecretValue", "{'SecretId':'a'}")
	d.ok("PutSecretValue", "{'SecretId':'a','SecretString':'one','VersionStages':['AWSPENDING']}")
	if got := d.ok("GetSecretValue", "{'SecretId':'a'}"); got.SecretString != "one" || !slices.Contains(got.VersionStages, "AWSPENDING") {
		t.Errorf("got %+v, want the value one with AWSPENDING", got)
	}
}

// Dates are epoch seconds with a fraction.
func TestVersionHasItsDate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirect(t)
		time.Sleep(250 * time.Millisecond)
		d.ok("CreateSecret", "{'Name':'a','SecretString':'x'}")
		if got, want := d.ok("GetSecretValue", "{'SecretId':'a'}").CreatedDate, float64(time.Now().UnixMilli())/1000; got != want {
			t.Errorf("got CreatedDate %f, want %f", got, want)
		}
	})
}

func TestInvalidVersionsAreRefused(t *testing.T) {
	d := newDirect(t)
	d.ok("CreateSecret", "{'Name':'a','SecretString':'one','ClientRequestToken':'"+vid(1)+"'}")
	for _, tt := range []struct{ name, want, operation, body string }{
		{"no value", "InvalidParameterException", "PutSecretValue", "{'SecretId':'a'}"},
		{"empty text", "InvalidParameterException", "PutSecretValue", "{'SecretId':'a','SecretString':''}"},
		{"short token", "InvalidParameterException", "PutSecretValue", "{'SecretId':'a','SecretString':'x','ClientRequestToken':'x'}"},
		{"empty label", "InvalidParameterException", "PutSecretValue", "{'SecretId':'a','SecretString':'x','VersionStages':['']}"},
		{"no label", "InvalidParameterException", "UpdateSecretVersionStage", "{'SecretId':'a','MoveToVersionId':'" + vid(1) + "'}"},
		{"no secret named", "InvalidParameterException", "GetSecretValue", "{}"},
		{"wrong type", "SerializationException", "PutSecretValue", "{'SecretId':1}"},
		{"not an object", "SerializationException", "PutSecretValue", "[]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d.in(t).fails(tt.want, tt.operation, tt.body)
		})
	}
}

// The test is for the race detector: the next call changes secrets while an answer is encoded.
func TestAnswersShareNoMemoryWithSecrets(t *testing.T) {
	d := newDirect(t)
	d.ok("CreateSecret", "{'Name':'a','SecretString':'one','ClientRequestToken':'"+vid(1)+"'}")
	d.ok("PutSecretValue", "{'SecretId':'a','SecretString':'two','ClientRequestToken':'"+vid(2)+"'}")
	var calls sync.WaitGroup
	for n := range 8 {
		calls.Go(func() {
			for range 20 {
				switch n % 4 {
				case 0:
					d.call("UpdateSecretVersionStage", "{'SecretId':'a','VersionStage':'AWSCURRENT','MoveToVersionId':'"+vid(1)+"','RemoveFromVersionId':'"+vid(2)+"'}")
					d.call("UpdateSecretVersionStage", "{'SecretId':'a','VersionStage':'AWSCURRENT','MoveToVersionId':'"+vid(2)+"','RemoveFromVersionId':'"+vid(1)+"'}")
				case 1:
					d.call("DescribeSecret", "{'SecretId':'a'}")
					d.call("GetSecretValue", "{'SecretId':'a'}")
				case 2:
					d.call("PutSecretValue", "{'SecretId':'a','SecretString':'three','VersionStages':['x']}")
				case 3:
					d.call("ListSecrets", "{}")
					d.Server.Fail("Nothing", 1, "x")
				}
			}
		})
	}
	calls.Wait()
	if n := d.Calls("DescribeSecret"); n != 40 {
		t.Errorf("got %d calls, want 40", n)
	}
}
