package runbook

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Typed is a command that was typed on a host, and what was seen then.
type Typed struct {
	Host    string
	Command string
	Seen    string
}

// Document is a document with blocks of consoles.
type Document struct {
	lines  []string
	blocks []block
}

// block is one block of a console: the lines from first up to, and without, end.
type block struct {
	story      string
	chance     []string
	first, end int
}

// shown is a command in a block: the line that it is in, and those of what was seen.
type shown struct {
	host, command string
	first, end    int
}

const fence = "```"

// Parse finds the blocks of a document.
func Parse(text string) (*Document, error) {
	d := &Document{lines: strings.Split(text, "\n")}
	marker := regexp.MustCompile(`^<!-- story: ([a-z-/]+)(?:; by chance: (.+))? -->$`)
	for i := 0; i < len(d.lines); i++ {
		if !strings.HasPrefix(d.lines[i], fence) {
			continue
		}
		n := slices.Index(d.lines[i+1:], fence)
		if n < 0 {
			return nil, fmt.Errorf("line %d: the block does not end", i+1)
		}
		b := block{first: i + 1, end: i + 1 + n}
		if m := marker.FindStringSubmatch(d.lines[max(i-1, 0)]); m != nil {
			b.story = m[1]
			if m[2] != "" {
				b.chance = strings.Split(m[2], " | ")
			}
			if commands := d.commands(b); len(commands) == 0 || commands[0].first != b.first+1 {
				return nil, fmt.Errorf("line %d: the block does not begin with a command", b.first+1)
			}
			d.blocks = append(d.blocks, b)
		} else if len(d.commands(b)) > 0 {
			return nil, fmt.Errorf("line %d: the block has a command, and no comment says of which story", b.first+1)
		}
		i = b.end
	}
	return d, nil
}

// commands returns the commands in a block.
func (d *Document) commands(b block) []shown {
	prompt := regexp.MustCompile(`^([a-z]+[0-9]+)# (mailtwin .+)$`)
	var all []shown
	for i := b.first; i < b.end; i++ {
		if m := prompt.FindStringSubmatch(d.lines[i]); m != nil {
			if len(all) > 0 {
				all[len(all)-1].end = i
			}
			all = append(all, shown{host: m[1], command: m[2], first: i + 1, end: b.end})
		}
	}
	return all
}

// Stories returns the stories that the blocks come from.
func (d *Document) Stories() []string {
	var names []string
	for _, b := range d.blocks {
		names = append(names, b.story)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// String returns the document.
func (d *Document) String() string { return strings.Join(d.lines, "\n") }

// Check says where the blocks of a story are not what was seen in it.
func (d *Document) Check(story string, typed []Typed) []string {
	var wrong []string
	d.each(story, typed, func(s shown, b block, t *Typed) {
		at := fmt.Sprintf("line %d of the document, %s# %s", s.first, s.host, s.command)
		if t == nil {
			wrong = append(wrong, at+": it was not typed in the story "+story+", or not in this order")
			return
		}
		want := d.lines[s.first:s.end]
		if _, ok := align(want, split(t.Seen), b.chance); !ok {
			wrong = append(wrong, fmt.Sprintf("%s: the document has\n%s\nand in the story %s was seen\n%s", at, strings.Join(want, "\n"), story, t.Seen))
		}
	})
	return wrong
}

// Update puts what was seen in a story into its blocks. What is left out there stays
// left out where that can be.
func (d *Document) Update(story string, typed []Typed) error {
	type change struct {
		shown
		lines []string
	}
	var changes []change
	d.each(story, typed, func(s shown, b block, t *Typed) {
		if t == nil {
			return // Check tells
		}
		lines, ok := align(d.lines[s.first:s.end], split(t.Seen), b.chance)
		if !ok {
			lines = split(t.Seen)
		}
		changes = append(changes, change{s, lines})
	})
	for _, c := range slices.Backward(changes) {
		d.lines = slices.Replace(d.lines, c.first, c.end, c.lines...)
	}
	again, err := Parse(d.String())
	if err == nil {
		*d = *again
	}
	return err
}

// each goes through the commands of a story in the document, with what was typed.
func (d *Document) each(story string, typed []Typed, f func(shown, block, *Typed)) {
	for _, b := range d.blocks {
		if b.story != story {
			continue
		}
		for _, s := range d.commands(b) {
			i := slices.IndexFunc(typed, func(t Typed) bool { return t.Host == s.host && t.Command == s.command })
			if i < 0 {
				f(s, b, nil)
				continue
			}
			f(s, b, &typed[i])
			typed = typed[i+1:]
		}
	}
}

func split(seen string) []string {
	return strings.Split(strings.TrimRight(seen, "\n"), "\n")
}
