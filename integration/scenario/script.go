package scenario

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// Script is one story.
type Script struct {
	// Variant is what makes it one of several of a file; "" if there is one.
	Variant string
	// Hosts are the mail hosts that are in it, in the order of their names'
	// first mention.
	Hosts []string

	steps []step
}

// step is one sentence.
type step struct {
	line int
	text string
	verb *verb
	args []string
}

// maxLine is the longest line of a script.
const maxLine = 1000

// Parse reads the stories of one file.
func Parse(r io.Reader) ([]Script, error) {
	var lines []string
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, maxLine)
	for scanner.Scan() {
		lines = append(lines, strings.TrimSpace(scanner.Text()))
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", len(lines)+1, err)
	}
	word, variants := "", []string{""}
	for i, line := range lines {
		if rest, ok := strings.CutPrefix(line, "for each "); ok {
			name, list, ok := strings.Cut(rest, " of: ")
			if !ok || word != "" {
				return nil, fmt.Errorf("line %d: %q is not \"for each WORD of: a, b, c\", once", i+1, line)
			}
			word, variants = name, strings.Split(list, ", ")
			lines[i] = ""
		}
	}
	var scripts []Script
	for _, variant := range variants {
		s, err := parse(lines, "<"+word+">", variant)
		if err != nil {
			return nil, err
		}
		scripts = append(scripts, s)
	}
	return scripts, nil
}

// parse makes one story of the lines of a file.
func parse(lines []string, word, variant string) (Script, error) {
	s := Script{Variant: variant}
	table, err := compile(verbs())
	if err != nil {
		return s, err
	}
	for i, line := range lines {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		text := strings.ReplaceAll(line, word, variant)
		st, ok := table.match(text)
		if !ok {
			return s, fmt.Errorf("line %d: nothing is known of %q; the sentences are in verbs.go", i+1, text)
		}
		st.line = i + 1
		s.add(st)
	}
	if len(s.steps) == 0 || len(s.Hosts) == 0 {
		return s, errors.New("the story says nothing of any host")
	}
	return s, nil
}

// add adds a sentence.
func (s *Script) add(st step) {
	s.steps = append(s.steps, st)
	for i, kind := range st.verb.kinds {
		if kind == "HOST" && !slices.Contains(s.Hosts, st.args[i]) {
			s.Hosts = append(s.Hosts, st.args[i])
		}
	}
}

// stopBefore lets the story end before the first sentence that runs a command
// of mailtwin which is not among those that it has, and returns that sentence;
// "" if there is none.
func (s *Script) stopBefore(able []string) string {
	for i, st := range s.steps {
		if st.verb.needs != "" && !slices.Contains(able, st.verb.needs) {
			s.steps = s.steps[:i]
			return st.text
		}
	}
	return ""
}

// kindPatterns are what may stand in the places of the words in capitals.
func kindPatterns() map[string]string {
	return map[string]string{
		"HOST": `([a-z]+[0-9]+)`, "DURATION": `([0-9]+m?s)`, "NUMBER": `([0-9]+)`, "TEXT": `(.+)`,
	}
}

// phrasebook is the verbs, ready to be found.
type phrasebook []*verb

// compile makes the sentences' patterns.
func compile(list []verb) (phrasebook, error) {
	var book phrasebook
	for _, v := range list {
		var words []string
		for word := range strings.FieldsSeq(v.sentence) {
			bare := strings.TrimRight(word, ",:")
			if pattern, ok := kindPatterns()[bare]; ok {
				v.kinds = append(v.kinds, bare)
				words = append(words, pattern+word[len(bare):])
				continue
			}
			words = append(words, regexp.QuoteMeta(word))
		}
		var err error
		if v.pattern, err = regexp.Compile("^" + strings.Join(words, " ") + "$"); err != nil {
			return nil, err
		}
		book = append(book, &v)
	}
	return book, nil
}

// match finds the verb of a sentence.
func (b phrasebook) match(text string) (step, bool) {
	for _, v := range b {
		if m := v.pattern.FindStringSubmatch(text); m != nil {
			return step{text: text, verb: v, args: m[1:]}, true
		}
	}
	return step{}, false
}
