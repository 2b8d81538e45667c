package site

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/mailtwin/mailtwin/integration/hosts"
	"github.com/mailtwin/mailtwin/replicator/hook/examples"
)

// paths are what the hooks of a mail host are about.
type paths struct {
	Dovecot string // its configuration
	Service string // the address that moves
	Power   string // the directory with the state of each host's socket
	Dir     string // of the hooks

	Mailtwin string // the command
	Settings string // of the node
}

// The hooks are the examples. Only the power switch is none: it tells whether the
// power of a host is off, and takes no order, as one whose cable was pulled too.
const (
	hooksConf = `FENCE="mailserver address ipmi"
PROMOTE="mailserver address"
DEMOTE="mailserver address"
MAIL_BY=process
MAIL_WAIT=5
DOVECOT_CONF={{.Dovecot}}
POSTFIX_CONF=
ADDRESS={{.Service}}/24
DEVICE=eth0
IPMI_HOST="${MAILTWIN_PEER:-}-ipmi.example.net"
IPMI_USER=mailtwin
IPMI_PASSWORD_FILE={{.Dir}}/ipmi.password
PATH={{.Dir}}/bin:$PATH
MAILTWIN={{.Mailtwin}}
MAILTWIN_CONFIG={{.Settings}}
READY_WAIT=20s
`
	ipmitool = `#!/bin/sh
# Stands for ipmitool -I lanplus -H HOST-ipmi.example.net [...] chassis power ORDER.
host=${4%-ipmi.example.net}
for order; do :; done
if [ "$(cat "{{.Power}}/$host")" = off ] && [ "$order" = status ]; then
	echo "Chassis Power is off"
	exit 0
fi
echo "Error: Unable to establish IPMI v2 / RMCP+ session" >&2
exit 1
`
)

// writeHooks writes the hooks of a mail host.
func writeHooks(p paths) error {
	if err := os.MkdirAll(filepath.Join(p.Dir, "bin"), 0o755); err != nil {
		return err
	}
	names, err := fs.Glob(examples.Scripts, "*")
	if err != nil {
		return err
	}
	for _, name := range names {
		data, err := examples.Scripts.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(p.Dir, name), data, 0o755); err != nil {
			return fmt.Errorf("writing the hook %q: %w", name, err)
		}
	}
	for name, text := range map[string]string{"hooks.conf": hooksConf, "bin/ipmitool": ipmitool, "ipmi.password": "secret\n"} {
		t, err := template.New(name).Parse(text)
		if err != nil {
			return err
		}
		var b strings.Builder
		if err := t.Execute(&b, p); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(p.Dir, name), []byte(b.String()), 0o755); err != nil {
			return fmt.Errorf("writing %q: %w", name, err)
		}
	}
	return nil
}

// hooks is the directory with the hooks of the host.
func (m *Machine) hooks() string { return filepath.Join(m.Dir, "hooks") }

// hook runs all hooks as the daemon would.
func (m *Machine) hook(event, phase string) []string { return m.script("all", event, phase) }

// script runs one hook as the daemon would.
func (m *Machine) script(name, event, phase string) []string {
	return []string{
		"MAILTWIN_EVENT=" + event, "MAILTWIN_PHASE=" + phase, "MAILTWIN_PLANNED=no", "MAILTWIN_PEER=",
		filepath.Join(m.hooks(), name), phase,
	}
}

// paths returns what the hooks of the host are to know.
func (s *Site) paths(m *Machine) paths {
	return paths{
		Dovecot: m.Dovecot.Config(), Service: hosts.ServiceAddress, Power: s.powerDir(), Dir: m.hooks(),
		Mailtwin: s.opt.Binary, Settings: m.Node.Config(),
	}
}
