package dovecot

import (
	"bytes"
	"fmt"
	"text/template"
)

// Password lets every user in.
const Password = "secret"

// Options say what Dovecot serves. Only Store is needed.
type Options struct {
	Store string // the mailstore's root: users live in <domain>/<user>/Maildir
	// Layout is Dovecot's mailbox layout: "Maildir++" (the default),
	// "fs" or "index".
	Layout string
	// MailOptions are settings to add, as in dovecot.conf.
	MailOptions string
	// Everywhere lets it listen on every address of the machine, at the ports
	// IMAPPort, LMTPPort and POP3Port, and not on 127.0.0.1 at ports that are free: on a
	// host of its own, whose addresses come and go.
	Everywhere bool
	// Name is the host name, which it greets with; mx1.example.org if empty.
	Name string
	// Wrap is a command line that runs doveadm, like one that enters a host.
	Wrap []string
}

// The ports of a Dovecot that listens everywhere.
const (
	IMAPPort = "143"
	LMTPPort = "24"
	POP3Port = "110"
)

// layout returns what mail_location says of the layout.
func (o Options) layout() string {
	if o.Layout == "" || o.Layout == "Maildir++" {
		return ""
	}
	return ":LAYOUT=" + o.Layout
}

// settings are what the configuration is made of.
type settings struct {
	Options
	Layout             string
	Run                string // base_dir: its path is short, for it has sockets in it
	UID, GID           int
	Listen             string
	IMAPPort, LMTPPort string
	POP3Port           string
	Password           string
}

var configuration = template.Must(template.New("dovecot.conf").Parse(`
base_dir = {{.Run}}/base
state_dir = {{.Run}}/state
log_path = {{.Run}}/dovecot.log
instance_name = mailtwin-test
protocols = imap lmtp{{if .Everywhere}} pop3{{end}}
listen = {{.Listen}}
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
auth_username_chars =
auth_verbose = yes
first_valid_uid = 1
mail_max_userip_connections = 100
mail_home = {{.Store}}/%d/%n
mail_location = maildir:~/Maildir{{.Layout}}
maildir_stat_dirs = no
postmaster_address = postmaster@example.org
hostname = {{.Name}}
login_greeting = {{.Name}} is ready
lda_mailbox_autocreate = yes
submission_host = 127.0.0.1:9
passdb {
  driver = static
  args = password={{.Password}}
}
userdb {
  driver = static
  args = uid={{.UID}} gid={{.GID}} home={{.Store}}/%d/%n allow_all_users=yes
}
namespace inbox {
  inbox = yes
  type = private
}
plugin {
  sieve = file:~/sieve;active=~/.dovecot.sieve
}
protocol lmtp {
  mail_plugins = $mail_plugins sieve
}
service imap-login {
  inet_listener imap {
    port = {{.IMAPPort}}
  }
  inet_listener imaps {
    port = 0
  }
}
{{if .Everywhere}}
service pop3-login {
  inet_listener pop3 {
    port = {{.POP3Port}}
  }
  inet_listener pop3s {
    port = 0
  }
}
{{end}}
service lmtp {
  inet_listener lmtp {
    address = {{.Listen}}
    port = {{.LMTPPort}}
  }
}
{{.MailOptions}}
`))

func (s settings) render() ([]byte, error) {
	var b bytes.Buffer
	if err := configuration.Execute(&b, s); err != nil {
		return nil, fmt.Errorf("writing dovecot.conf: %w", err)
	}
	return b.Bytes(), nil
}
