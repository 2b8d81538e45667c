package main

import (
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// notify tells systemd how the daemon is (sd_notify(3)), if it asked for that:
// one datagram with one or more of READY=1, STOPPING=1, STATUS=words and
// WATCHDOG=1. Nothing rests on it, so that a failure is not worth an error.
func notify(states ...string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"}) // "@" is the abstract namespace
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(strings.Join(states, "\n")))
}

// watchdog returns how often systemd wants to hear WATCHDOG=1 at the least,
// halved to be on the safe side; 0 is not at all.
func watchdog() time.Duration {
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	pid := os.Getenv("WATCHDOG_PID")
	if err != nil || usec <= 0 || usec > int64(time.Hour/time.Microsecond) || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	return time.Duration(usec) * time.Microsecond / 2
}
