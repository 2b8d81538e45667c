package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	n := flag.Int("n", 5_000_000, "messages")
	dir := flag.String("dir", "/var/tmp/mailtwin-kvbench", "where the stores are made")
	stores := flag.String("store", "pebble,bbolt", "which to measure")
	phase := flag.String("phase", "", "for the program's own use")
	flag.Parse()
	if err := run(*n, *dir, strings.Split(*stores, ","), *phase); err != nil {
		fmt.Fprintln(os.Stderr, "kvbench:", err)
		os.Exit(1)
	}
}

func run(n int, dir string, stores []string, phase string) error {
	switch phase {
	case "fill":
		return fill(stores[0], filepath.Join(dir, stores[0]), n)
	case "open":
		return reopen(stores[0], filepath.Join(dir, stores[0]), n)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, name := range stores {
		where := filepath.Join(dir, name)
		if err := os.MkdirAll(where, 0o700); err != nil {
			return err
		}
		for _, phase := range []string{"fill", "open"} {
			c := exec.Command(self, "-n", fmt.Sprint(n), "-dir", dir, "-store", name, "-phase", phase)
			c.Stdout, c.Stderr = os.Stdout, os.Stderr
			if err := c.Run(); err != nil {
				return fmt.Errorf("%s: %s: %w", name, phase, err)
			}
		}
		if err := os.RemoveAll(where); err != nil {
			return err
		}
	}
	return os.Remove(dir)
}
