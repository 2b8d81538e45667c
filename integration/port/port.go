package port

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// Free returns addresses, host:port, that nobody listens on now, all on one
// host. Nothing keeps others from them, but nobody else is likely to come: the
// host is one of the millions that the loopback device has beside 127.0.0.1.
// There a port is given to every connection, so that a program which is stopped
// and started again would find its own taken now and then.
func Free(n int) ([]string, error) {
	host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	addrs := make([]string, 0, n)
	for range n {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return nil, fmt.Errorf("looking for a free port: %w", err)
		}
		defer l.Close() // all are held until the last is found, so that none comes twice
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}
