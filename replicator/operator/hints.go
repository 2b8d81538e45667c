package operator

import (
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/mailtwin/mailtwin/replicator/hint"
)

// hintMark parts an error from what to do about it, on its way to the command.
const hintMark = "\nhint: "

// failure is an error as it is sent to the command, with what to do about it.
func failure(code codes.Code, err error) error {
	text := err.Error()
	if h := hint.Of(err); h != "" {
		text += hintMark + h
	}
	return grpcstatus.Error(code, clean(text))
}

// parseFailure is the error that the daemon has sent with such a text.
func parseFailure(text string) error {
	words, remedy, found := strings.Cut(text, hintMark)
	if !found {
		return errors.New(text)
	}
	return hint.Add(errors.New(words), "%s", remedy)
}
