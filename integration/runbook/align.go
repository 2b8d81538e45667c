package runbook

import (
	"regexp"
	"slices"
	"strings"
)

// cut stands for what a document leaves out.
const cut = "[...]"

// mask is what may be different each time, and what is compared in its place.
type mask struct {
	pattern *regexp.Regexp
	as      string
}

// masks are those of all lines. To make them takes longer than to use them.
func masks() []mask {
	var all []mask
	for _, m := range []struct{ pattern, as string }{
		{`\b\d{9,}\.[^\s;/]+`, "MESSAGE"},
		{`example\.org/[^\s";]+`, "MAILBOX"},
		{`\bpair-\w+`, "PAIR"},
		{`\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d(\.\d+)?)?`, "DATE"},
		{`\b\d+(\.\d+)? [KMGT]?i?B\b`, "SIZE"},
		{`\b(\d+(\.\d+)?(ms|µs|h|m|s))+\b`, "TIME"},
		{`@[0-9a-f]{8}\b`, "@DIGEST"},
		{`\b\d+(\.\d+)*\b`, "N"},
		{` +`, " "},
	} {
		all = append(all, mask{regexp.MustCompile(m.pattern), m.as})
	}
	return all
}

// shape returns what is compared of a line.
func shape(line string, all []mask) string {
	for _, m := range all {
		line = m.pattern.ReplaceAllString(line, m.as)
	}
	return strings.TrimRight(line, " ")
}

// aligner finds which line of a document is which of those that were seen.
type aligner struct {
	want, seen []string
	pattern    []*regexp.Regexp // of the shape of each line of want; nil for a cut
	shapes     []string         // of seen
	wantBy     []bool           // a line of want is there by chance
	failed     map[[2]int]bool
	lines      []string // what the document should have, the last one first
}

// align reports whether lines of a document show what was seen, and returns them with
// what was seen now.
func align(want, seen, chance []string) ([]string, bool) {
	a, all := &aligner{want: want, seen: seen, failed: map[[2]int]bool{}}, masks()
	has := func(line string) bool {
		return slices.ContainsFunc(chance, func(words string) bool { return strings.Contains(line, words) })
	}
	for _, line := range want {
		a.pattern, a.wantBy = append(a.pattern, patternOf(line, all)), append(a.wantBy, has(line))
	}
	for _, line := range seen {
		a.shapes = append(a.shapes, shape(line, all))
	}
	if !a.from(0, 0) {
		return nil, false
	}
	slices.Reverse(a.lines)
	return a.lines, true
}

func patternOf(line string, all []mask) *regexp.Regexp {
	if line == cut {
		return nil
	}
	parts := strings.Split(line, cut)
	for i, part := range parts {
		parts[i] = regexp.QuoteMeta(shape(part, all))
	}
	return regexp.MustCompile("^" + strings.Join(parts, ".*") + "$")
}

// from aligns what is left from line i of the document and line j of what was seen.
func (a *aligner) from(i, j int) bool {
	if i == len(a.want) && j == len(a.seen) {
		return true
	}
	at := [2]int{i, j}
	if a.failed[at] {
		return false
	}
	// A line that is not in the document belongs to what was cut out before it, if
	// that was so.
	cutBefore := i > 0 && a.pattern[i-1] == nil
	ok := i < len(a.want) && a.take(i, j) || !cutBefore && j < len(a.seen) && a.from(i, j+1) && a.keep(a.seen[j])
	if !ok {
		a.failed[at] = true
	}
	return ok
}

// take takes line i of the document for line j, for none, or for more.
func (a *aligner) take(i, j int) bool {
	if a.pattern[i] == nil {
		return a.from(i+1, j) && a.keep(cut) || j < len(a.seen) && a.from(i, j+1)
	}
	if j < len(a.seen) && a.pattern[i].MatchString(a.shapes[j]) {
		text := a.seen[j]
		if strings.Contains(a.want[i], cut) {
			text = a.want[i]
		}
		// Of lines of one shape there may be more, or fewer, than there were.
		if (a.from(i+1, j+1) || a.from(i, j+1)) && a.keep(text) {
			return true
		}
		if i+1 < len(a.want) && a.pattern[i+1] != nil && a.pattern[i+1].String() == a.pattern[i].String() && a.from(i+1, j) {
			return true
		}
	}
	return a.wantBy[i] && a.from(i+1, j)
}

func (a *aligner) keep(line string) bool {
	a.lines = append(a.lines, line)
	return true
}
