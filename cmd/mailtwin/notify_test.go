package main

import (
	"net"
	"path/filepath"
	"testing"
	"time"
)

func TestSystemdIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	notify("READY=1", "STATUS=in sync")
	b := make([]byte, 100)
	n, err := conn.Read(b)
	if got := string(b[:n]); err != nil || got != "READY=1\nSTATUS=in sync" {
		t.Errorf("systemd was told %q, %v", got, err)
	}
	t.Setenv("NOTIFY_SOCKET", path+".gone")
	notify("READY=1")
	t.Setenv("NOTIFY_SOCKET", "")
	notify("READY=1")
}

func TestWatchdog(t *testing.T) {
	for usec, want := range map[string]time.Duration{
		"": 0, "x": 0, "-1": 0, "30000000": 15 * time.Second, "9223372036854775807": 0,
	} {
		t.Setenv("WATCHDOG_USEC", usec)
		if got := watchdog(); got != want {
			t.Errorf("WATCHDOG_USEC=%s: %v, want %v", usec, got, want)
		}
	}
	t.Setenv("WATCHDOG_USEC", "30000000")
	t.Setenv("WATCHDOG_PID", "1")
	if got := watchdog(); got != 0 {
		t.Errorf("for another process: %v", got)
	}
}
