package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/salvage"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// rejoin is one run of the command.
type rejoin struct {
	p        *program
	list     bool
	json     bool
	yes      bool
	subjects bool
	force    bool
}

func (p *program) rejoinCommand() *cobra.Command {
	r := &rejoin{p: p}
	c := &cobra.Command{
		Use:   "rejoin",
		Short: "On the former primary: hand over what was never replicated, then be a mirror",
		Long: `Makes a former primary a mirror of the one that was promoted in its place. It is
for a node whose status says "fenced".

Mail that this node took and never replicated is delivered to the new primary,
with its flags and date, and nothing twice. Flags that were changed here are set
there, unless they were changed there too. Removals and moves are told, and not
made there. What was expunged there does not come back; where that cannot be known,
as when another node was primary in between, only mail that certainly came after this
node was replaced is delivered, and no flags are set. What cannot be delivered
is kept on this node, beneath ..mailtwin/history at the store's root. Then this
node becomes a mirror, which moves only the difference.

Each message is a line: what happened to it here (new, flags, moved, removed,
present: not known what; control: no message), and what becomes of it:

  wanted, delivered  it goes to the new primary
  to-set, set        its flags do
  there              the new primary has it already
  not-moved, stays   it was moved or removed here, and is left as it is there
  conflict           its flags were, or may have been, changed on both sides; those there stay
  expunged           it was removed there; kept here, in the history
  doubt              it may have been removed there; kept here, in the history
  kept               it could not be delivered, or has another content there; kept
                     here, in the history

Of messages that are kept or in doubt the log tells too, and the status of this node
needs attention for them until ` + "`mailtwin accept kept --yes`" + `.

The mail server must not run here: the hook demote stops it. If that fails, this
node does not rejoin, unless you say with --force that the mail server is stopped.
Mail that comes meanwhile all the same ends the command with an error, and is handed
over by the next one. The command can be given again at any time.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return r.run(c.Context(), c.InOrStdin()) },
	}
	c.Flags().BoolVar(&r.list, "list", false, "only show what would be done, and change nothing")
	c.Flags().BoolVar(&r.json, "json", false, "print for programs, one object a line")
	c.Flags().BoolVar(&r.yes, "yes", false, "do not ask before it is done")
	c.Flags().BoolVar(&r.force, "force", false, "rejoin though the hook demote failed: you have seen to it that the mail server is stopped")
	c.Flags().BoolVar(&r.subjects, "subjects", false, "show the subjects of messages, which are private")
	return c
}

func (r *rejoin) run(ctx context.Context, in io.Reader) error {
	client, err := r.p.daemon()
	if err != nil {
		return err
	}
	defer client.Close()
	if !r.list && !r.yes {
		if err := r.ask(ctx, client, in); err != nil {
			return err
		}
	}
	result, err := client.Rejoin(ctx, operator.RejoinOptions{List: r.list, Subjects: r.subjects, Force: r.force}, r)
	if err != nil {
		return err
	}
	return r.summary(result)
}

// ask shows what would be done, and asks whether it shall be.
func (r *rejoin) ask(ctx context.Context, client *operator.Client, in io.Reader) error {
	if f, ok := in.(*os.File); ok {
		if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
			return hint.Add(errors.New("there is nobody to ask"), "look with --list, then give the command with --yes")
		}
	}
	result, err := client.Rejoin(ctx, operator.RejoinOptions{List: true, Subjects: r.subjects}, r)
	if err != nil {
		return err
	}
	if err := r.summary(result); err != nil {
		return err
	}
	r.p.note("Deliver this to %s, and make this node its mirror? [y/N] ", result.Primary)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil || !strings.HasPrefix(strings.ToLower(strings.TrimSpace(answer)), "y") {
		return errors.New("nothing was done")
	}
	return nil
}

// Step implements operator.RejoinTeller.
func (r *rejoin) Step(words string) error {
	r.p.note("%s", words)
	return nil
}

// Line implements operator.RejoinTeller.
func (r *rejoin) Line(l salvage.Line) error {
	if r.json {
		return json.NewEncoder(r.p.out).Encode(rejoinLine(l))
	}
	date := strings.Repeat(" ", len(time.DateTime))
	if !l.Date.IsZero() {
		date = l.Date.Format(time.DateTime)
	}
	text := fmt.Sprintf("%-8s %-9s %10s  %s  %s", l.Change, l.Outcome, status.Bytes(uint64(l.Size)), date, visible(string(l.Path)))
	for _, more := range []struct{ what, value string }{
		{"to ", string(l.To)}, {"without keywords ", strings.Join(l.Dropped, ", ")}, {"", l.Detail}, {"subject: ", l.Subject},
	} {
		if more.value != "" {
			text += "; " + more.what + visible(more.value)
		}
	}
	_, err := fmt.Fprintln(r.p.out, text)
	return err
}

// lineJSON is a line for programs: type is "message", or "file" for what is
// none. Paths that are not UTF-8 are given in base64 too.
type lineJSON struct {
	Type      string     `json:"type"`
	Change    string     `json:"change"`
	Outcome   string     `json:"outcome"`
	Mailbox   string     `json:"mailbox,omitempty"`
	Path      string     `json:"path"`
	PathBytes []byte     `json:"path_bytes,omitempty"`
	Size      int64      `json:"size"`
	Date      *time.Time `json:"date,omitempty"`
	Detail    string     `json:"detail,omitempty"`
	To        string     `json:"to,omitempty"`
	Dropped   []string   `json:"dropped_keywords,omitempty"`
	Subject   string     `json:"subject,omitempty"`
}

func rejoinLine(l salvage.Line) lineJSON {
	out := lineJSON{
		Type: "message", Change: string(l.Change), Outcome: string(l.Outcome), Mailbox: string(l.Mailbox), Path: string(l.Path),
		Size: l.Size, Detail: l.Detail, To: string(l.To), Dropped: l.Dropped, Subject: l.Subject,
	}
	if l.Change == salvage.ChangeControl {
		out.Type = "file"
	}
	if !l.Date.IsZero() {
		out.Date = &l.Date
	}
	if !utf8.ValidString(out.Path) {
		out.PathBytes = []byte(out.Path)
	}
	return out
}

// summaryJSON is the last line for programs.
type summaryJSON struct {
	Type           string            `json:"type"` // "summary"
	Primary        string            `json:"primary"`
	Uncertain      string            `json:"uncertain,omitempty"`
	Outcomes       map[string]uint64 `json:"outcomes"`
	DeliveredBytes int64             `json:"delivered_bytes"`
	SentBytes      int64             `json:"sent_bytes"`
	History        string            `json:"history,omitempty"`
	Mirror         bool              `json:"mirror"`
}

func (r *rejoin) summary(s operator.RejoinResult) error {
	if r.json {
		out := summaryJSON{
			Type: "summary", Primary: s.Primary, Uncertain: s.Uncertain, Outcomes: make(map[string]uint64),
			DeliveredBytes: s.Delivered, SentBytes: s.Sent, History: s.History, Mirror: s.Mirror,
		}
		for o, n := range s.Outcomes {
			out.Outcomes[string(o)] = n
		}
		return json.NewEncoder(r.p.out).Encode(out)
	}
	if s.Uncertain != "" {
		r.p.note("This is less certain than usual, for %s: all messages were compared, and only what %s remembers tells whether one was removed there.",
			s.Uncertain, s.Primary)
	}
	var counts []string
	for _, o := range slices.Sorted(maps.Keys(s.Outcomes)) {
		counts = append(counts, fmt.Sprintf("%d %s", s.Outcomes[o], o))
	}
	if counts == nil {
		counts = []string{"nothing was left to bring over"}
	}
	fmt.Fprintln(r.p.out, strings.Join(counts, ", "))
	if s.Delivered > 0 {
		fmt.Fprintf(r.p.out, "delivered %s to %s, %s travelled\n", status.Bytes(uint64(s.Delivered)), s.Primary, status.Bytes(uint64(s.Sent)))
	}
	if s.History != "" {
		fmt.Fprintf(r.p.out, "kept in %s, at the root of the store\n", s.History)
	}
	if s.Mirror {
		fmt.Fprintf(r.p.out, "this node is a mirror of %s now\n", s.Primary)
	}
	return nil
}
