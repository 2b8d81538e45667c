package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends at once
	p := program{out: os.Stdout, err: os.Stderr, in: os.Stdin, interactive: isTerminal(os.Stdin), now: time.Now, hostname: os.Hostname}
	code := p.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
