package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/status"
)

const (
	askTimeout    = 10 * time.Second       // for one answer of the daemon
	watchInterval = 500 * time.Millisecond // between two pictures for people
)

func (p *program) statusCommand() *cobra.Command {
	var asJSON, watch, mailboxes, all bool
	var under string
	var limit int
	c := &cobra.Command{
		Use:   "status",
		Short: "Tell how the node is, and what would be lost now",
		Long: "Tells how the node is and what would be lost if the mirror were promoted now.\n\n" +
			"The role is primary, mirror or fenced; or unconfirmed: the node was primary when it\n" +
			"ended, and no other node has agreed since that it still is. Then, and while it is\n" +
			"fenced or sealed, no mail server should be started.\n\n" +
			"While a first sync goes on it says how much is done, how fast it goes, and when it\n" +
			"will be done at the rate of the last five minutes; with --watch on a terminal as a\n" +
			"bar too.\n\n" +
			exitCodes,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := p.daemon()
			if err != nil {
				return err
			}
			defer client.Close()
			if mailboxes {
				return p.mailboxes(c.Context(), client, under, limit, asJSON)
			}
			if watch {
				return p.watchStatus(c.Context(), client, asJSON)
			}
			return p.status(c.Context(), client, asJSON, all || asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print for programs")
	c.Flags().BoolVar(&all, "unreadable", false, "list all files that cannot be read, not only the first; --json does so by itself")
	c.Flags().BoolVar(&watch, "watch", false, "go on telling, after each change, until interrupted")
	c.Flags().BoolVar(&mailboxes, "mailboxes", false, "tell how far the mirror has each domain, user and mailbox, the least complete first")
	c.Flags().StringVar(&under, "under", "", "with --mailboxes: only those in this `directory` of the store")
	c.Flags().IntVar(&limit, "limit", 0, "with --mailboxes: name so many of each kind at most (default 20; with --json 1000)")
	c.MarkFlagsMutuallyExclusive("watch", "mailboxes")
	return c
}

// daemon returns a client of the daemon of this node.
func (p *program) daemon() (*operator.Client, error) {
	c, err := config.Load(p.config)
	if err != nil {
		return nil, err
	}
	return operator.Dial(c.StateDir)
}

func (p *program) status(ctx context.Context, client *operator.Client, asJSON, all bool) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	doc, raw, err := client.Status(ctx, all)
	if err != nil {
		return err
	}
	if err := p.printStatus(doc, raw, asJSON, ""); err != nil {
		return err
	}
	if code := doc.State.ExitCode(); code != exitOK {
		return verdict(code)
	}
	return nil
}

// fewNamed is how many mailboxes people are told of by name.
const fewNamed = 20

// mailboxes tells how far the mirror has each. It ends well whatever it has:
// whether that is enough is told by the status.
func (p *program) mailboxes(ctx context.Context, client *operator.Client, under string, limit int, asJSON bool) error {
	if limit <= 0 && !asJSON {
		limit = fewNamed
	}
	doc, raw, err := client.Mailboxes(ctx, under, limit)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if asJSON {
		b.Write(raw)
		b.WriteByte('\n')
	} else if err := status.RenderMailboxes(&b, &doc); err != nil {
		return err
	}
	if _, err := p.out.Write(b.Bytes()); err != nil {
		return fmt.Errorf("printing the mailboxes: %w", err)
	}
	return nil
}

// watchStatus ends with the last state, or as unknown if the daemon ended.
func (p *program) watchStatus(ctx context.Context, client *operator.Client, asJSON bool) error {
	interval, before := time.Duration(watchInterval), "\n"
	if asJSON {
		interval, before = 0, ""
	} else if p.onTerminal() {
		before = "\x1b[H\x1b[2J" // home, clear
	}
	last := verdict(exitUnknown)
	err := client.Follow(ctx, interval, func(doc status.Document, raw []byte) error {
		last = verdict(doc.State.ExitCode())
		return p.printStatus(doc, raw, asJSON, before)
	})
	switch {
	case ctx.Err() == nil && err == nil:
		return errors.New("the daemon ended")
	case ctx.Err() == nil:
		return err
	case last == exitOK:
		return nil
	}
	return last
}

func (p *program) printStatus(doc status.Document, raw []byte, asJSON bool, before string) error {
	var b bytes.Buffer
	b.WriteString(before)
	if asJSON {
		b.Write(bytes.TrimSpace(raw))
		b.WriteByte('\n')
	} else if err := status.Render(&b, &doc); err != nil {
		return err
	}
	if bars := !asJSON && before != "" && p.onTerminal(); bars {
		if err := status.RenderBars(&b, &doc); err != nil {
			return err
		}
	}
	if _, err := p.out.Write(b.Bytes()); err != nil {
		return fmt.Errorf("printing the status: %w", err)
	}
	return nil
}

// onTerminal reports whether a person reads stdout.
func (p *program) onTerminal() bool {
	f, ok := p.out.(*os.File)
	return ok && isTerminal(f)
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
