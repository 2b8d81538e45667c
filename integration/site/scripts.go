package site

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
)

// paths are what the programs of a mail host are about.
type paths struct {
	Dovecot string // its configuration
	Base    string // its base directory, with the id of its master process
	Service string // the address that moves
	Power   string // the directory with the state of each host's socket
	Start   string // the programs
	Stop    string

	Mailtwin string // the command
	Settings string // of the node
}

// The hooks. A fence on the old primary stops its mail server. A fence for
// another host can only look whether its power is off, as one does whose power
// switch answers questions and no more.
const (
	startProgram = `#!/bin/sh
# Starts the mail server and takes the service address. It does not mind if
# both are there already.
set -e
pid=$(cat {{.Base}}/master.pid 2>/dev/null) && kill -0 "$pid" 2>/dev/null ||
	# It keeps its output open for as long as it runs.
	dovecot -c {{.Dovecot}} >{{.Base}}.out 2>&1 </dev/null || {
	cat {{.Base}}.out >&2
	exit 1
}
ip address replace {{.Service}}/24 dev eth0
# It says so at once and then listens for a second, which nobody waits for.
arping -q -A -c 1 -I eth0 {{.Service}} >/dev/null 2>&1 </dev/null &
`
	stopProgram = `#!/bin/sh
# Gives the service address up and stops the mail server.
ip address delete {{.Service}}/24 dev eth0 2>/dev/null
pid=$(cat {{.Base}}/master.pid 2>/dev/null) || exit 0
kill "$pid" 2>/dev/null
for try in $(seq 200); do
	# One that is dead and that nobody has asked after yet is no process.
	case $(cat "/proc/$pid/stat" 2>/dev/null) in
	"" | *") Z "*) exit 0 ;;
	esac
	sleep 0.05
done
echo "The mail server does not stop." >&2
exit 1
`
	fenceHook = `#!/bin/sh
[ "$1" = before ] || exit 0
[ "$MAILTWIN_PLANNED" = yes ] && exec {{.Stop}}
if [ "$(cat {{.Power}}/"$MAILTWIN_PEER")" = off ]; then
	echo "The power of $MAILTWIN_PEER is off."
	exit 0
fi
echo "$MAILTWIN_PEER has power, and cannot be reached." >&2
exit 1
`
	promoteHook = `#!/bin/sh
[ "$1" = after ] || exit 0
exec {{.Start}}
`
	demoteHook = `#!/bin/sh
[ "$1" = before ] || exit 0
exec {{.Stop}}
`
	// What Dovecot runs at each login. It never keeps anybody out.
	postLoginProgram = `#!/bin/sh
{{.Mailtwin}} ready --config {{.Settings}} --wait 20s -- "$USER" </dev/null >/dev/null
exec "$@"
`
	// What Dovecot runs to take mail. It never keeps any out.
	lmtpProgram = `#!/bin/sh
{{.Mailtwin}} ready --config {{.Settings}} --wait 20s </dev/null >/dev/null
exec /usr/lib/dovecot/lmtp "$@"
`
)

// writePrograms writes all programs of a mail host and returns the paths of
// the hooks by their names.
func writePrograms(dir string, p paths) (hooks map[string]string, err error) {
	p.Start, p.Stop = filepath.Join(dir, "mail-start"), filepath.Join(dir, "mail-stop")
	hooks = map[string]string{}
	for name, text := range map[string]string{
		"mail-start": startProgram, "mail-stop": stopProgram,
		"fence": fenceHook, "promote": promoteHook, "demote": demoteHook,
		"postlogin": postLoginProgram, "lmtp": lmtpProgram,
	} {
		t, err := template.New(name).Parse(text)
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		if err := t.Execute(&b, p); err != nil {
			return nil, err
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b.Bytes(), 0o755); err != nil {
			return nil, fmt.Errorf("writing the program %q: %w", name, err)
		}
		if name == "fence" || name == "promote" || name == "demote" {
			hooks[name] = path
		}
	}
	return hooks, nil
}
