package status

import (
	"bytes"
	"strings"
	"testing"
)

func TestProgressInWords(t *testing.T) {
	left := 192.0
	p := &Progress{Files: 3000, FilesDone: 1500, Bytes: 4 << 20, BytesDone: 1 << 20, BytesPerSecond: 2048, SecondsLeft: &left, Basis: "at the rate of the last 5 minutes"}
	const want = "25 %: 1500 of 3000 files, 1.0 MiB of 4.0 MiB, 2.0 KiB/s; time left: 3m12s at the rate of the last 5 minutes"
	if got := p.words(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	p.FilesDone, p.BytesDone, p.SecondsLeft, p.Basis = 2999, 4<<20, nil, "unknown: it has only begun"
	if got := p.words(); !strings.HasPrefix(got, "99 %") || !strings.HasSuffix(got, "time left: unknown: it has only begun") {
		t.Errorf("%q", got)
	}
}

func TestBars(t *testing.T) {
	left := 60.0
	d := &Document{Mirrors: []Mirror{
		{Name: "mx2", Progress: &Progress{Files: 10, FilesDone: 5, SecondsLeft: &left}}, {Name: "mx3"},
		{Name: "m\x1bx4", Progress: &Progress{Files: 10, Bytes: 10}},
	}}
	var b bytes.Buffer
	if err := RenderBars(&b, d); err != nil {
		t.Fatal(err)
	}
	want := "\nmx2  [" + strings.Repeat("#", 25) + strings.Repeat(".", 25) + "]  50 %  1m0s left\n" +
		"\nm?x4  [" + strings.Repeat(".", 50) + "]   0 %  ? left\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}
