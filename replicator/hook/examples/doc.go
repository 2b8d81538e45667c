// Package examples has hooks that an operator can take over as they are. They
// are scripts for any POSIX shell; the tests of this package run them, each
// twice, for hooks may be repeated.
//
//	all         runs several of the others, in the order that hooks.conf says
//	mailserver  starts and stops Dovecot and Postfix, by systemd or as plain
//	            processes
//	address     moves an address with ip(8) and tells the neighbours
//	dns         points a name at the new primary, by nsupdate(1) or the like
//	ipmi        switches off an old primary that does not answer
//	postlogin   lets an IMAP client wait until his mailboxes are raised after a
//	            promotion; 90-mailtwin.conf tells Dovecot to run it
//	lmtp        lets mail wait until all mailboxes are raised after a promotion;
//	            90-mailtwin.conf tells Dovecot to run it
//	hooks.conf  what they need to know; each says at its top what that is
//
// To use them, copy them to a directory that only root may write to, such as
// /etc/mailtwin/hooks, change hooks.conf there, and put into the settings of
// both nodes:
//
//	[hooks]
//	fence = "/etc/mailtwin/hooks/all"
//	promote = "/etc/mailtwin/hooks/all"
//	demote = "/etc/mailtwin/hooks/all"
//
// What a hook is told, and what is expected of it, is in the package hook. The
// daemon has to run as root for those that start services or set addresses.
package examples

import "embed"

// Scripts has the examples as they are in this directory, for programs that put
// them where a test needs them.
//
//go:embed all mailserver address dns ipmi postlogin lmtp hooks.conf 90-mailtwin.conf
var Scripts embed.FS
