package door

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestDoor(t *testing.T) {
	d := New[string]("starting")
	if _, err := d.Server(); status.Code(err) != codes.Unavailable || status.Convert(err).Message() != "starting" {
		t.Errorf("a new door: %v", err)
	}
	server := "a server"
	d.Open(&server)
	if s, err := d.Server(); s != &server || err != nil {
		t.Errorf("an open door: %v, %v", s, err)
	}
	if was := d.Shut("a mirror now"); was != &server {
		t.Errorf("shut in front of %v", was)
	}
	if was := d.Shut("a mirror still"); was != nil {
		t.Errorf("shut a second time in front of %v", was)
	}
	if _, err := d.Server(); status.Convert(err).Message() != "a mirror still" {
		t.Errorf("a shut door: %v", err)
	}
}
