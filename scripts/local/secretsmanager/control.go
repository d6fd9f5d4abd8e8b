package secretsmanager

import "context"

// fault is what the next calls of an operation meet.
type fault struct {
	code string // empty: no answer at all
	left int
}

// Seed makes text the current value of a secret, which it creates if need be.
// It fails where the same call over HTTP would.
func (s *Server) Seed(name, text string) (versionID string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetDeleted()
	var failure *apiError
	id := newUUID()
	if s.secrets[name] == nil {
		_, failure = s.createSecret(createInput{Name: name, value: value{SecretString: &text}, ClientRequestToken: id})
	} else {
		_, failure = s.putSecretValue(putInput{SecretID: name, value: value{SecretString: &text}, ClientRequestToken: id})
	}
	if failure != nil {
		return "", failure
	}
	return id, nil
}

// Calls returns how often an operation was called, by name. Calls that failed
// count, unless they were refused before their operation was looked at.
func (s *Server) Calls(operation string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[operation]
}

// Fail makes the next calls of an operation, times of them, answer with an error
// of that code, such as ThrottlingException or AccessDeniedException. It replaces
// what Fail or Hang were told before.
func (s *Server) Fail(operation string, times int, code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[operation] = fault{code: code, left: times}
}

// Hang makes the next calls of an operation, times of them, wait until their
// caller gives up. It replaces what Fail or Hang were told before.
func (s *Server) Hang(operation string, times int) { s.Fail(operation, times, "") }

// meet counts a call and does to it what Fail and Hang asked for.
func (s *Server) meet(ctx context.Context, operation string) *apiError {
	f := s.count(operation)
	if f.left == 0 {
		return nil
	}
	if f.code == "" {
		<-ctx.Done() // without mu: other calls go on
		f.code = internalError
	}
	return &apiError{f.code, "told to fail"}
}

// count counts a call and returns the fault that it uses up, if any.
func (s *Server) count(operation string) fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[operation]++
	f := s.faults[operation]
	if f.left <= 0 {
		return fault{}
	}
	s.faults[operation] = fault{code: f.code, left: f.left - 1}
	return f
}
