package port

import (
	"fmt"
	"net"
)

// Free returns addresses on 127.0.0.1, host:port, that nobody listens on now.
// Nothing keeps others from them: who uses them does so soon.
func Free(n int) ([]string, error) {
	addrs := make([]string, 0, n)
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("looking for a free port: %w", err)
		}
		defer l.Close() // all are held until the last is found, so that none comes twice
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}
