package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/mailtwin/mailtwin/integration/hosts"
	"github.com/mailtwin/mailtwin/integration/terminal"
)

// Typed is a command that an operator typed on a host, and what was to be seen then,
// with the names of directories and addresses that documents use.
type Typed struct {
	Host    string
	Command string // from "mailtwin" on
	Seen    string // in lines; the last of them is the exit code if it is not 0
}

// record is what operators typed, in the order in which the commands ended.
type record struct {
	mu    sync.Mutex
	typed []Typed
}

// Typed returns what operators have typed so far.
func (s *Site) Typed() []Typed {
	s.record.mu.Lock()
	defer s.record.mu.Unlock()
	return s.record.typed
}

// Type has an operator type a command of mailtwin on a host, and agree to what it
// asks. The error is an *exec.ExitError if the command failed.
func (s *Site) Type(ctx context.Context, m *Machine, args ...string) (Typed, error) {
	return s.TypeThinking(ctx, m, func() string { return "yes" }, args...)
}

// TypeThinking is Type, and where the command asks for a yes, think says what is
// answered. It may take its time.
func (s *Site) TypeThinking(ctx context.Context, m *Machine, think func() string, args ...string) (Typed, error) {
	seen, err := terminal.Run(m.Node.Command(ctx, args...),
		terminal.Answer{Question: "Type yes to go on:", Think: think}, terminal.Answer{Question: "[y/N]", Text: "y"})
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		seen += fmt.Sprintf("[exit code %d]\n", exit.ExitCode())
	}
	documented := s.documented()
	command := documented.Replace(strings.Join(append([]string{"mailtwin"}, args...), " "))
	// What only the tests need is left out, and a token is a secret.
	command = regexp.MustCompile(` --report \S+| --state /var/lib/mailtwin`).ReplaceAllString(command, "")
	token := regexp.MustCompile(`--token \S+`)
	t := Typed{Host: m.Name, Command: token.ReplaceAllString(command, "--token TOKEN"), Seen: documented.Replace(seen)}
	s.record.mu.Lock()
	defer s.record.mu.Unlock()
	shown := t
	shown.Seen = token.ReplaceAllString(t.Seen, "--token TOKEN")
	s.record.typed = append(s.record.typed, shown)
	return t, err
}

// documented puts the names that documents use in the place of those of this site.
func (s *Site) documented() *strings.Replacer {
	pairs := []string{hosts.ServiceAddress, "192.0.2.10"}
	for _, m := range s.Machines {
		number := strings.TrimLeft(m.Name, "abcdefghijklmnopqrstuvwxyz")
		pairs = append(pairs, m.Node.Store, "/var/vmail", m.Node.State, "/var/lib/mailtwin",
			m.Node.Config(), "/etc/mailtwin/mailtwin.toml", m.hooks(), "/etc/mailtwin/hooks",
			m.Address+":", "192.0.2."+number+":")
	}
	return strings.NewReplacer(pairs...)
}

// Failover has an operator promote a host, and returns what the command reports.
func (s *Site) Failover(ctx context.Context, m *Machine, args ...string) (Report, error) {
	file := filepath.Join(m.Dir, "report.json")
	t, err := s.Type(ctx, m, append(append([]string{"failover"}, args...), "--report", file)...)
	if err != nil {
		return Report{}, fmt.Errorf("mailtwin failover on %s: %w: %s", m.Name, err, t.Seen)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return Report{}, err
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	return readReport(lines[len(lines)-1])
}
