package modseq

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The file as it is, byte for byte.
const golden = `mailtwin-modseq 2
f069a4db begin 3 1887436800000000 100
22f03943 done ann@example.org
ad1029c9 done Käthe Müller
081f839d complete
`

func TestTheRecordIsWrittenAsDescribed(t *testing.T) {
	dir := t.TempDir()
	r, why, err := resume(dir, 3, 1887436800000000, 100)
	if err != nil || why != nil {
		t.Fatal(why, err)
	}
	l, err := openLedger(dir, r)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{l.done("ann@example.org"), l.done("Käthe Müller"), l.complete(), l.close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil || string(got) != golden {
		t.Errorf("%s%v", got, err)
	}
	r, _, err = resume(dir, 3, 99, 100)
	users := slices.Sorted(maps.Keys(r.done))
	if err != nil || r.epoch != 3 || r.modseq != 1887436800000000 || r.gap != 100 || !r.complete || !slices.Equal(users, []string{"Käthe Müller", "ann@example.org"}) {
		t.Errorf("%+v, %v", r, err)
	}
}

// The file as it was before UIDs were left out.
const first = `mailtwin-modseq 1
8ed18a3f begin 3 1887436800000000
22f03943 done ann@example.org
`

func TestTheFirstVersionIsReadUnlessUIDsAreToBeLeftOut(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, recordFile), []byte(first), 0o600); err != nil {
		t.Fatal(err)
	}
	r, why, err := resume(dir, 3, 1000, 0)
	if err != nil || why != nil || r.modseq != 1887436800000000 || r.gap != 0 || !r.done["ann@example.org"] {
		t.Errorf("%+v, %v, %v", r, why, err)
	}
	r, why, err = resume(dir, 3, 1000, 100)
	if err != nil || why != nil || r.modseq != 1887436800000000+1<<20 || r.gap != 100 || len(r.done) != 0 {
		t.Errorf("%+v, %v, %v", r, why, err)
	}
}

// A crash may leave any part of what was appended.
func TestATornRecordGoesOn(t *testing.T) {
	head := strings.Index(golden, "22f0") // what is before is durable
	for size := head; size < len(golden); size++ {
		dir := t.TempDir()
		path := filepath.Join(dir, recordFile)
		if err := os.WriteFile(path, []byte(golden[:size]), 0o600); err != nil {
			t.Fatal(err)
		}
		r, why, err := resume(dir, 3, 0, 100)
		if err != nil || why != nil || r.modseq != 1887436800000000 || r.complete {
			t.Fatalf("%q: %+v, %v, %v", golden[:size], r, why, err)
		}
		l, err := openLedger(dir, r)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(l.done("bob"), l.close()); err != nil {
			t.Fatal(err)
		}
		again, err := load(dir)
		if err != nil || len(again.done) != len(r.done)+1 || !again.done["bob"] {
			t.Fatalf("%q: %+v, %v", golden[:size], again, err)
		}
	}
}

func TestDamageAndNewerFormatsAreToldApart(t *testing.T) {
	for text, want := range map[string]error{
		"":                                    ErrCorrupt,
		"mailtwin-modseq 1\n":                 ErrCorrupt,
		"mailtwin-modseq 3\nsomething else\n": ErrNewer,
		"mailtwin-modseq 01\n":                ErrCorrupt,
		"mailtwin-modseq x\n":                 ErrCorrupt,
		"mailtwin-node 1\n":                   ErrCorrupt,
		strings.Replace(golden, "begin 3", "begin 4", 1):                     ErrCorrupt,
		strings.Replace(golden, "ann", "bob", 1):                             ErrCorrupt,
		"mailtwin-modseq 1\n" + line("begin 03 4"):                           ErrCorrupt,
		"mailtwin-modseq 1\n" + line("begin 3 9999999999999999999"):          ErrCorrupt,
		"mailtwin-modseq 2\n" + line("begin 3 4"):                            ErrCorrupt,
		"mailtwin-modseq 1\n" + line("begin 3 4 5"):                          ErrCorrupt,
		begin(3, 4, 5) + line("done"):                                        ErrCorrupt,
		begin(3, 4, 5) + line("done a*"):                                     ErrCorrupt,
		begin(3, 4, 5) + line("begin 3 4 5"):                                 ErrCorrupt,
		begin(3, 4, 5) + line("done "+strings.Repeat("x", maxLine)):          ErrCorrupt,
		begin(3, 4, 5) + "00000000 " + strings.Repeat("x", maxLine):          ErrCorrupt,
		begin(3, 4, 5) + line("done ann") + "no sum\n" + line("done bertha"): ErrCorrupt,
	} {
		if _, err := parse(strings.NewReader(text)); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
}

func TestAnotherEpochBeginsAnew(t *testing.T) {
	dir := t.TempDir()
	if _, err := load(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(dir, recordFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(golden)
	// A clock that went back must not lower the number.
	r, why, err := resume(dir, 4, 1000, 0)
	if err != nil || why != nil || r.modseq != 1887436800000000+1<<20 || len(r.done) != 0 || r.complete {
		t.Errorf("%+v, %v, %v", r, why, err)
	}
	write(strings.Replace(golden, "ann", "bob", 1))
	r, why, err = resume(dir, 3, 1000, 0)
	if err != nil || !errors.Is(why, ErrCorrupt) || r.modseq != 1000 || len(r.done) != 0 {
		t.Errorf("%+v, %v, %v", r, why, err)
	}
	write("mailtwin-modseq 3\n")
	if _, _, err := resume(dir, 3, 1000, 0); !errors.Is(err, ErrNewer) {
		t.Error(err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, recordFile)); string(got) != "mailtwin-modseq 3\n" {
		t.Errorf("a newer record became %q", got)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(golden))
	f.Add([]byte(begin(1, 2, 3) + line("done x") + "torn"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parse(strings.NewReader(string(data)))
		if err != nil {
			if !errors.Is(err, ErrNewer) && !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		again, err := parse(strings.NewReader(string(data[:r.size])))
		if err != nil || again.modseq != r.modseq || !maps.Equal(again.done, r.done) || again.complete != r.complete {
			t.Fatalf("%+v, its whole lines %+v, %v", r, again, err)
		}
	})
}
