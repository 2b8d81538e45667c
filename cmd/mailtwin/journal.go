package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/status"
)

func (p *program) journalCommand() *cobra.Command {
	var from, limit uint64
	var asJSON bool
	show := &cobra.Command{
		Use:   "show",
		Short: "Print entries of the journal and which mirrors have them",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.showJournal(c.Context(), journal.Sequence(from), limit, asJSON)
		},
	}
	show.Flags().Uint64Var(&from, "from", 0, "the first sequence `number`; 0 is the oldest that is kept")
	show.Flags().Uint64Var(&limit, "limit", 0, "the most entries; 0 is all there are now")
	show.Flags().BoolVar(&asJSON, "json", false, "print for programs, one object a line")
	c := &cobra.Command{
		Use:   "journal",
		Short: "Look into the journal",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(show)
	return c
}

func (p *program) showJournal(ctx context.Context, from journal.Sequence, limit uint64, asJSON bool) error {
	client, err := p.daemon()
	if err != nil {
		return err
	}
	defer client.Close()
	print := p.printEntry
	if asJSON {
		print = p.printEntryJSON
	}
	return client.Journal(ctx, from, limit, print)
}

// printEntry prints one line: sequence, epoch, time, kind, size, path, the
// name before it, and who has it.
func (p *program) printEntry(e operator.JournalLine) error {
	line := fmt.Sprintf("%10d  %d  %s  %-10s %10s  %s", e.Sequence, e.Epoch,
		e.Time.UTC().Format("2006-01-02T15:04:05.000Z"), e.Kind, status.Bytes(uint64(e.Size)), visible(string(e.Path)))
	if e.From != "" {
		line += " from " + visible(string(e.From))
	}
	if len(e.Mirrors) > 0 {
		line += "  on " + strings.Join(e.Mirrors, ", ")
	}
	_, err := fmt.Fprintln(p.out, line)
	return err
}

// visible quotes what could move the cursor or be mistaken for something else.
func visible(path string) string {
	if quoted := strconv.Quote(path); quoted != `"`+path+`"` || strings.ContainsRune(path, ' ') {
		return quoted
	}
	return path
}

// entryJSON is an entry for programs.
type entryJSON struct {
	Sequence uint64    `json:"sequence"`
	Epoch    uint64    `json:"epoch"`
	Time     time.Time `json:"time"`
	Kind     string    `json:"kind"`
	Path     string    `json:"path"`
	From     string    `json:"from,omitempty"`
	// The names as they are, base64, where they are not UTF-8.
	PathBytes []byte   `json:"path_bytes,omitempty"`
	FromBytes []byte   `json:"from_bytes,omitempty"`
	Size      int64    `json:"size"`
	Content   string   `json:"content,omitempty"` // BLAKE3-256, hexadecimal
	Mirrors   []string `json:"mirrors"`
}

func (p *program) printEntryJSON(e operator.JournalLine) error {
	exact := func(path journal.Path) []byte {
		if utf8.ValidString(string(path)) {
			return nil
		}
		return []byte(path)
	}
	mirrors := e.Mirrors
	if mirrors == nil {
		mirrors = []string{}
	}
	enc := json.NewEncoder(p.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(entryJSON{
		Sequence: uint64(e.Sequence), Epoch: uint64(e.Epoch), Time: e.Time.UTC(), Kind: e.Kind,
		Path: string(e.Path), From: string(e.From), PathBytes: exact(e.Path), FromBytes: exact(e.From),
		Size: e.Size, Content: hex.EncodeToString(e.Content), Mirrors: mirrors,
	})
}
