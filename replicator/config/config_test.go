package config

import (
	"encoding"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/replicator/hint"
)

func valid(t *testing.T) Config {
	t.Helper()
	c := Default()
	c.StateDir = filepath.Join(t.TempDir(), "state")
	c.Store.Path = filepath.Join(t.TempDir(), "mail")
	c.Node.Name = "mx1"
	return c
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, peer := range []string{"", "mx2.example.net:7420"} {
		c := valid(t)
		c.Node.Peer = peer
		c.Store.Path = "/srv/a \"quoted\\\tname\" äé\x7f"
		path := filepath.Join(t.TempDir(), "mailtwin.toml")
		if err := Write(path, c); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("mode %v (%v), want 0600", info.Mode(), err)
		}
		got, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != c {
			t.Errorf("read %+v, written %+v", got, c)
		}
		if err := Write(path, c); !errors.Is(err, ErrExists) || hint.Of(err) == "" {
			t.Errorf("writing again: %v, want ErrExists and a hint", err)
		}
	}
}

func TestWhatIsLeftOutHasItsDefault(t *testing.T) {
	c, err := Decode("f", []byte("[store]\npath = \"/var/vmail\"\n[journal]\nmax_age = \"36h\""))
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Store.Path = "/var/vmail"
	want.Journal.MaxAge = Duration(36 * 60 * 60 * 1e9)
	if c != want {
		t.Errorf("got %+v, want %+v", c, want)
	}
}

// Each field of Config has its line in the table, and each comment in the
// written file names the default that Default gives.
func TestEveryDefaultIsDocumented(t *testing.T) {
	var fields []string
	var walk func(reflect.Type, string)
	walk = func(typ reflect.Type, table string) {
		for f := range typ.Fields() {
			text := reflect.PointerTo(f.Type).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
			if f.Type.Kind() == reflect.Struct && !text {
				walk(f.Type, f.Tag.Get("toml")+".")
				continue
			}
			fields = append(fields, table+f.Tag.Get("toml"))
		}
	}
	walk(reflect.TypeFor[Config](), "")
	var names []string
	c := Default()
	for _, s := range settings() {
		names = append(names, s.name())
		want := "Default: " + s.value(&c)
		if s.value(&c) == "" {
			want = map[bool]string{true: "Default: none", false: "There is no default."}[s.optional]
		}
		if !strings.HasSuffix(s.comment, want) {
			t.Errorf("the comment of %s does not end with %q", s.name(), want)
		}
		if s.sample() == "" {
			t.Errorf("%s has neither a default nor an example", s.name())
		}
	}
	if !reflect.DeepEqual(names, fields) {
		t.Errorf("the table has %v, Config has %v", names, fields)
	}
}

func TestTheExampleIsWhatIsWritten(t *testing.T) {
	c := Default()
	c.Store.Path, c.Node.Name, c.Node.Peer = "/var/vmail", "mx1", "mx2.example.net:7420"
	want, err := os.ReadFile("testdata/mailtwin.toml")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(Format(c)); got != string(want) {
		t.Errorf("testdata/mailtwin.toml is not what is written:\n%s", got)
	}
}

func TestAMissingFileSaysHowToMakeOne(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.toml"))
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(hint.Of(err), "mailtwin init") {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
}

func TestDecodingIsStrict(t *testing.T) {
	for _, c := range []struct {
		text string
		kind error
		says string
		hint string
	}{
		{"[store]\n\npth = '/x'", ErrUnknownKey, `f:3: unknown key "store.pth"`, "path, layout, index_interval, retry_interval"},
		{"colour = 'red'", ErrUnknownKey, `f:1: unknown key "colour"`, "state_dir"},
		{"[store]\npath='/x'\n[pase]\nprofile = 'gentle'", ErrUnknownKey, `f:3: unknown key "pase"`, "[journal]"},
		{"[pace]\nreads_per_second = '200'", ErrInvalid, "pace.reads_per_second is 200, not a whole number", "reads_per_second = 200"},
		{"[pace]\nhours = 'noon'", ErrInvalid, `pace.hours: "noon" cannot be read as hours`, "line 2"},
		{"[node]\nname.first = 'x'", ErrInvalid, "node.name is map", `name = "mx1"`},
		{"[node]\nrole = 'primary'", ErrUnknownKey, `f:2: unknown key "node.role"`, "listen"},
		{"[node]\n\nname = ", ErrSyntax, "f:3: not valid TOML", "line 3"},
		{"[node]\nname = 'a'\nname = 'b'", ErrSyntax, "f:3: not valid TOML", "line 3"},
		{"[journal]\nmax_size = 4", ErrInvalid, "journal.max_size is 4, not a string", `max_size = "4GiB"`},
		{"[journal]\nmax_size = '4'", ErrInvalid, `f:2: not a valid setting: journal.max_size: "4" cannot be read`, "line 2"},
		{"[journal]\nmax_age = 'week'", ErrInvalid, `journal.max_age: "week" cannot be read`, "line 2"},
		{"store = '/var/vmail'", ErrInvalid, "store is not a table", "[store]"},
		{strings.Repeat("#", maxFile+1), ErrSyntax, "larger than 1MiB", ""},
	} {
		_, err := Decode("f", []byte(c.text))
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) || !strings.Contains(hint.Of(err), c.hint) {
			t.Errorf("%.40q: %v, hint %q; want %q and a hint with %q", c.text, err, hint.Of(err), c.says, c.hint)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%.40q: the error has several lines: %q", c.text, err)
		}
	}
}

func TestValidation(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		says   string
	}{
		"store.path missing":  {func(c *Config) { c.Store.Path = "" }, "store.path is missing"},
		"store.path relative": {func(c *Config) { c.Store.Path = "mail" }, `store.path "mail" is not an absolute path`},
		"layout":              {func(c *Config) { c.Store.Layout = "mdbox" }, `store.layout cannot be "mdbox"`},
		"index_interval":      {func(c *Config) { c.Store.IndexInterval = 0 }, "store.index_interval is 0"},
		"retry_interval":      {func(c *Config) { c.Store.RetryInterval = 0 }, "store.retry_interval is 0"},
		"state_dir relative":  {func(c *Config) { c.StateDir = "./state" }, `state_dir "./state" is not an absolute path`},
		"state_dir NUL":       {func(c *Config) { c.StateDir = "/a\x00" }, "NUL"},
		"state in the store":  {func(c *Config) { c.StateDir = c.Store.Path + "/x/state" }, "lies in the store"},
		"state is the store":  {func(c *Config) { c.StateDir = c.Store.Path + "/" }, "lies in the store"},
		"store in the state":  {func(c *Config) { c.Store.Path = c.StateDir + "/mail" }, "lies in the state directory"},
		"no name":             {func(c *Config) { c.Node.Name = "" }, `node.name: not a valid setting: "" cannot be`},
		"listen":              {func(c *Config) { c.Node.Listen = "7420" }, `node.listen "7420" is not a host and a port`},
		"listen port":         {func(c *Config) { c.Node.Listen = ":imap" }, "node.listen"},
		"listen space":        {func(c *Config) { c.Node.Listen = "mx 1:7420" }, "node.listen"},
		"peer host":           {func(c *Config) { c.Node.Peer = ":7420" }, `node.peer ":7420" has no host`},
		"peer port":           {func(c *Config) { c.Node.Peer = "mx2:0" }, `node.peer "mx2:0" has no port`},
		"segment small":       {func(c *Config) { c.Journal.SegmentSize = 1 }, "journal.segment_size is 1B"},
		"segment large":       {func(c *Config) { c.Journal.SegmentSize = 2 << 30 }, "journal.segment_size is 2GiB"},
		"journal small":       {func(c *Config) { c.Journal.MaxSize = 31 << 20 }, "journal.max_size is 31MiB"},
		"journal age":         {func(c *Config) { c.Journal.MaxAge = 0 }, "journal.max_age is 0s"},
		"hook relative":       {func(c *Config) { c.Hooks.Demote = "demote.sh" }, `hooks.demote "demote.sh" is not an absolute path`},
		"hook limit":          {func(c *Config) { c.Hooks.Timeout = 0 }, "hooks.timeout is 0s"},
		"hook limit long":     {func(c *Config) { c.Hooks.Timeout = Duration(2 * day) }, "hooks.timeout is 2d"},
		"users":               {func(c *Config) { c.IMAP.Users = "%h/Maildir" }, "imap.users is not a pattern"},
		"sync first":          {func(c *Config) { c.Sync.First = "a, ../b" }, "sync.first is not a list"},
		"sync order":          {func(c *Config) { c.Sync.Order = "random" }, `sync.order cannot be "random"`},
		"pace profile":        {func(c *Config) { c.Pace.Profile = "brutal" }, `pace.profile cannot be "brutal"`},
		"pace degraded":       {func(c *Config) { c.Pace.OnDegraded = "evacuate" }, `pace.on_degraded cannot be "evacuate"`},
		"pace failing":        {func(c *Config) { c.Pace.OnFailing = "ignore" }, `pace.on_failing cannot be "ignore"`},
		"pace reads":          {func(c *Config) { c.Pace.ReadsPerSecond = -1 }, "pace.reads_per_second is -1"},
		"pace command":        {func(c *Config) { c.Pace.HealthCommand = "check" }, `pace.health_command "check" is not an absolute path`},
		"level":               {func(c *Config) { c.Log.Level = "loud" }, `log.level cannot be "loud"`},
		"format":              {func(c *Config) { c.Log.Format = "" }, `log.format cannot be ""`},
	} {
		t.Run(name, func(t *testing.T) {
			config := valid(t)
			if err := config.Validate(); err != nil {
				t.Fatalf("before the change: %v", err)
			}
			c.change(&config)
			err := config.Validate()
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.says) || hint.Of(err) == "" {
				t.Errorf("%v, hint %q; want %q", err, hint.Of(err), c.says)
			}
			if err := Write(filepath.Join(t.TempDir(), "f"), config); !errors.Is(err, ErrInvalid) {
				t.Errorf("it was written all the same: %v", err)
			}
		})
	}
}

func TestALinkIntoTheStoreIsSeenThrough(t *testing.T) {
	c := valid(t)
	if err := os.Mkdir(c.Store.Path, 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(c.Store.Path, link); err != nil {
		t.Fatal(err)
	}
	c.StateDir = filepath.Join(link, "not", "there", "yet")
	if err := c.Validate(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "lies in the store") {
		t.Errorf("%v", err)
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"a", "mx1", "mx-1.example.NET", "7", "xn--bcher-kva", strings.Repeat("x", MaxName)} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "a.", ".a", "a..b", "-a", "a-", "a.-b", "a b", "a/b", "a_b", "ä", "a\n", strings.Repeat("x", MaxName+1)} {
		if err := CheckName(name); !errors.Is(err, ErrInvalid) || hint.Of(err) == "" {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Format(Default()))
	f.Add([]byte("[store]\npath = 3"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Decode("f", data)
		if err != nil {
			return
		}
		if again, err := Decode("f", Format(c)); err != nil || again != c {
			t.Fatalf("%+v, written and read again %+v, %v", c, again, err)
		}
	})
}
