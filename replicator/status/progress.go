package status

import (
	"fmt"
	"io"
	"strings"
)

// Progress is how far a sync is: how much the primary has, and how much of that
// the mirror.
type Progress struct {
	Files          uint64  `json:"files"`
	FilesDone      uint64  `json:"files_done"`
	Bytes          uint64  `json:"bytes"`
	BytesDone      uint64  `json:"bytes_done"`
	FilesPerSecond float64 `json:"files_per_second"`
	BytesPerSecond float64 `json:"bytes_per_second"`
	// SecondsLeft is how long it will take; null: not known.
	SecondsLeft *float64 `json:"seconds_left"`
	Basis       string   `json:"basis"` // what it rests on, or why it is not known
}

// Left says how long it will take, and what that rests on.
func (p *Progress) Left() string {
	if p.SecondsLeft == nil {
		return p.Basis
	}
	return Age(*p.SecondsLeft) + " " + p.Basis
}

// share is how much is done, by bytes or, if it is less, by files: at most 1.
func (p *Progress) share() float64 {
	part := func(done, all uint64) float64 {
		if all == 0 {
			return 1
		}
		return min(float64(done)/float64(all), 1)
	}
	return min(part(p.FilesDone, p.Files), part(p.BytesDone, p.Bytes))
}

// words says all of it in a line. It says 100 % only if everything is there.
func (p *Progress) words() string {
	return fmt.Sprintf("%d %%: %d of %d files, %s of %s, %s/s; time left: %s", int(p.share()*100),
		p.FilesDone, p.Files, Bytes(p.BytesDone), Bytes(p.Bytes), Bytes(uint64(p.BytesPerSecond)), p.Left())
}

// barWidth is that of a bar, in characters.
const barWidth = 50

// RenderBars writes a bar for each sync that goes on, for a terminal.
func RenderBars(w io.Writer, d *Document) error {
	bar := func(name string, p *Progress) error {
		if p == nil {
			return nil
		}
		full := int(p.share() * barWidth)
		_, err := fmt.Fprintf(w, "\n%s  [%s%s] %3d %%  %s left\n", printable(name),
			strings.Repeat("#", full), strings.Repeat(".", barWidth-full), int(p.share()*100), leftShort(p))
		if err != nil {
			return fmt.Errorf("print the progress: %w", err)
		}
		return nil
	}
	for i := range d.Mirrors {
		if err := bar(d.Mirrors[i].Name, d.Mirrors[i].Progress); err != nil {
			return err
		}
	}
	if d.Primary != nil {
		return bar(d.Name, d.Primary.Progress)
	}
	return nil
}

func leftShort(p *Progress) string {
	if p.SecondsLeft == nil {
		return "?"
	}
	return Age(*p.SecondsLeft)
}
