package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
)

func main() {
	if err := run(); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var s settings
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&s.messages, "messages", 50_000, "messages in the tree")
	flags.IntVar(&s.many, "many", 500_000, "messages in the large tree of the cases e and g")
	flags.IntVar(&s.rounds, "rounds", 3, "how often each pair of measurements is made; medians are told")
	flags.StringVar(&s.binary, "binary", "", "the mailtwin command; it is built when this is empty")
	only := flags.String("only", "abcdefghijk", "the cases: a latency, b restart, c flags, d first sync, e memory, f one body, g failover, h foreground, i rsync beside it, j live mail during a first sync, k the cost of governing")
	flags.StringVar(&s.reads, "reads", "", "a file to which the case h adds, for each of its measurements, when each read began and how long it took")
	dir := flags.String("dir", "", "where the trees are made; a temporary directory when this is empty")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	s.only = strings.ToLower(*only)
	work, err := os.MkdirTemp(*dir, "mailtwin-bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	s.dir = work
	return s.measure(ctx)
}
