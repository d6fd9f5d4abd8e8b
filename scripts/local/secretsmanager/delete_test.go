package secretsmanager_test

import (
	"testing"
	"time"
)

const day = 24 * time.Hour

// TestWindowEnds: until the window ends a secret holds its name and can come
// back; then it is gone and the name is free.
func TestWindowEnds(t *testing.T) {
	d := newDirect(t)
	first := d.ok("CreateSecret", "{'Name':'a','SecretString':'one'}")
	deleted := d.ok("DeleteSecret", "{'SecretId':'a','RecoveryWindowInDays':7}")
	if want := float64(d.now.Add(7 * day).Unix()); deleted.DeletionDate != want {
		t.Errorf("DeletionDate is %f, want %f", deleted.DeletionDate, want)
	}
	for operation, body := range map[string]string{
		"GetSecretValue": "", "PutSecretValue": ",'SecretString':'x'", "UpdateSecret": ",'Description':'x'", "DeleteSecret": "",
		"UpdateSecretVersionStage": ",'VersionStage':'x','MoveToVersionId':'x'", "TagResource": ",'Tags':[{'Key':'k'}]",
	} {
		d.fails("InvalidRequestException", operation, "{'SecretId':'a'"+body+"}")
	}
	d.now = d.now.Add(7*day - time.Second)
	d.fails("InvalidRequestException", "CreateSecret", "{'Name':'a','SecretString':'one'}")
	d.ok("RestoreSecret", "{'SecretId':'a'}")
	d.ok("GetSecretValue", "{'SecretId':'a'}")
	d.ok("DeleteSecret", "{'SecretId':'a'}") // 30 days
	d.now = d.now.Add(30 * day)
	d.fails("ResourceNotFoundException", "RestoreSecret", "{'SecretId':'a'}")
	if second := d.ok("CreateSecret", "{'Name':'a','SecretString':'one'}"); second.ARN == first.ARN {
		t.Error("a new secret has the ARN of a deleted one")
	}
}

// TestForcedDeletion needs no secret, so that it can be repeated.
func TestForcedDeletion(t *testing.T) {
	d := newDirect(t)
	d.ok("CreateSecret", "{'Name':'a','SecretString':'one'}")
	d.ok("DeleteSecret", "{'SecretId':'a'}")
	for range 2 {
		if got := d.ok("DeleteSecret", "{'SecretId':'a','ForceDeleteWithoutRecovery':true}"); got.Name != "a" || got.DeletionDate == 0 {
			t.Errorf("%+v", got)
		}
		d.fails("ResourceNotFoundException", "DescribeSecret", "{'SecretId':'a'}")
	}
	d.fails("ResourceNotFoundException", "DeleteSecret", "{'SecretId':'a'}")
	d.fails("InvalidParameterException", "DeleteSecret", "{'SecretId':'a','RecoveryWindowInDays':31}")
}
