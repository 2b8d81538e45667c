package operator

import (
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/mailtwin/mailtwin/replicator/hint"
)

// TestWhatToDoReachesTheCommand: the daemon's error comes with its remedy.
func TestWhatToDoReachesTheCommand(t *testing.T) {
	for _, err := range []error{
		errors.New("it cannot be done"),
		hint.Add(errors.New("it cannot be done"), "do %d%% of it", 50),
		errors.New("of a name \xff"),
	} {
		sent := failure(codes.FailedPrecondition, err)
		st, _ := grpcstatus.FromError(sent)
		got := parseFailure(st.Message())
		if st.Code() != codes.FailedPrecondition || got.Error() != clean(err.Error()) || hint.Of(got) != hint.Of(err) {
			t.Errorf("%v (%s) came as %v (%s)", err, hint.Of(err), got, hint.Of(got))
		}
	}
}
