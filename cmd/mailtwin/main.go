package main

import (
	"context"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends at once
	p := program{
		out: os.Stdout, err: os.Stderr, in: os.Stdin, interactive: isTerminal(os.Stdin), now: time.Now,
		hostname: os.Hostname, canonical: net.DefaultResolver.LookupCNAME,
	}
	code := p.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
