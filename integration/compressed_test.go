package integration

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/client"
	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/pair"
)

// compressing are the settings of a Dovecot that compresses what it saves.
const compressing = "protocol imap {\n  mail_plugins = $mail_plugins zlib\n}\nprotocol lmtp {\n  mail_plugins = $mail_plugins sieve zlib\n}\nplugin {\n  zlib_save = gz\n  zlib_save_level = 1\n}\n"

// TestCompressedMail replicates the mail of a Dovecot that compresses it: the sizes in
// the names are those of the messages and not of the files. Some are compressed anew
// under their names, as a job of the night does it, and some are copied, which makes
// links. Clients of the mirror see the same.
func TestCompressedMail(t *testing.T) {
	dovecot.Need(t)
	primary, mirror := stores(t)
	server := dovecot.New(t, dovecot.Options{Store: primary, MailOptions: compressing})
	p := pair.New(t, pair.Options{Binary: plainBinary(t), PrimaryStore: primary, MirrorStore: mirror, Direct: true})
	drive(t, server, 15, 15)
	c, err := client.DialIMAP(server.IMAP, users()[0], dovecot.Password)
	must(t, err)
	must(t, create(c, "Compressed"))
	must(t, create(c, "Copied"))
	for range 8 {
		body := bytes.Repeat([]byte("what comes again and again\r\n"), 400)
		_, err := c.Append("Compressed", append([]byte("Subject: large\r\n\r\n"), body...), time.Now())
		must(t, err)
	}
	_, err = c.Select("Compressed")
	must(t, err)
	uids, err := c.UIDs()
	must(t, err)
	p.MustBeEqual(t, time.Minute)

	const box = "example.org/ann/Maildir/.Compressed/cur/*"
	files, err := filepath.Glob(filepath.Join(primary, box))
	must(t, err)
	if len(files) != len(uids) {
		t.Fatalf("%d files, %d messages", len(files), len(uids))
	}
	for _, path := range files[:4] {
		recompress(t, path)
	}
	must(t, c.Copy(uids[2:6], "Copied"))
	must(t, c.Close())
	want := look(t, server)
	p.MustBeEqual(t, time.Minute)
	copied, err := filepath.Glob(filepath.Join(mirror, "example.org/ann/Maildir/.Copied/*/*.*"))
	must(t, err)
	if len(copied) != 4 {
		t.Errorf("the mirror has %d copies", len(copied))
	}
	for _, path := range copied {
		var st syscall.Stat_t
		if must(t, syscall.Stat(path, &st)); st.Nlink != 2 {
			t.Errorf("%s has %d links on the mirror", path, st.Nlink)
		}
	}
	other := dovecot.New(t, dovecot.Options{Store: copyOf(t, mirror), MailOptions: compressing})
	for i, got := range look(t, other) {
		for _, line := range client.Diff(want[i], got, 20) {
			t.Errorf("%s: %s", got.User, line)
		}
	}
	quiet(t, other)
}

// recompress replaces a message that is compressed by the same, compressed better,
// under the same name and with the same time.
func recompress(t *testing.T, path string) {
	t.Helper()
	before, err := os.ReadFile(path)
	must(t, err)
	plain, err := gzip.NewReader(bytes.NewReader(before))
	must(t, err)
	data, err := io.ReadAll(plain)
	must(t, err)
	size := regexp.MustCompile(`,S=(\d+),W=\d+`).FindStringSubmatch(filepath.Base(path))
	if size == nil || size[1] != strconv.Itoa(len(data)) || len(before) >= len(data) {
		t.Fatalf("%s is %d bytes, of which %d are left", path, len(data), len(before))
	}
	var after bytes.Buffer
	w, err := gzip.NewWriterLevel(&after, gzip.BestCompression)
	must(t, err)
	_, err = w.Write(data)
	must(t, errors.Join(err, w.Close()))
	if bytes.Equal(after.Bytes(), before) {
		t.Fatalf("%s is compressed as it was", path)
	}
	info, err := os.Stat(path)
	must(t, err)
	uid, gid, err := dovecot.Owner()
	must(t, err)
	temp := filepath.Join(filepath.Dir(filepath.Dir(path)), "tmp", filepath.Base(path))
	must(t, errors.Join(os.WriteFile(temp, after.Bytes(), 0o600), os.Chown(temp, uid, gid),
		os.Chtimes(temp, info.ModTime(), info.ModTime()), os.Rename(temp, path)))
}
