package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxUnsent is how many bytes the kernel takes for a connection beyond what is
// on its way. It would take megabytes, and on a slow link whatever is written
// behind them, new mail and signs of life, waits for seconds.
const maxUnsent = 64 << 10

// Dial connects to another node, within SilenceLimit.
func Dial(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: SilenceLimit, Control: keepShort}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	return conn, nil
}

// Listen listens for other nodes.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	var c net.ListenConfig
	// What is set on a listener of multipath TCP gets lost on its connections.
	c.SetMultipathTCP(false)
	c.Control = keepShort
	return c.Listen(ctx, "tcp", address)
}

// keepShort lets a write to a socket wait while much has not been sent; the
// connections of a listener have it from there.
func keepShort(_, _ string, raw syscall.RawConn) error {
	var err error
	cerr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent)
	})
	if cerr != nil {
		return cerr
	}
	if errors.Is(err, unix.ENOPROTOOPT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil // where that cannot be had, mail waits a little longer
	}
	return err
}
