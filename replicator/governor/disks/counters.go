package disks

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/replicator/governor"
)

// Sensors reads the counters of a set of devices, and how long processes wait
// for disks. It implements governor.Sensors.
type Sensors struct {
	set Set
	// cgroup is the mail server's, a directory beneath the cgroup file system;
	// empty: not known.
	cgroup string
}

// NewSensors returns the sensors for a set of devices, which may be empty, and
// for the cgroup directory of the mail server, which may be "".
func NewSensors(set Set, cgroup string) *Sensors { return &Sensors{set: set, cgroup: cgroup} }

// Counters implements governor.Sensors.
func (s *Sensors) Counters() governor.Counters {
	none := governor.Counters{Ops: -1}
	text, err := os.ReadFile(s.set.roots.proc("diskstats"))
	if err != nil {
		return none
	}
	all := parseDiskstats(text)
	out := none
	for _, name := range s.set.Queues {
		if d, ok := all[name]; ok { // else it has been lost, and the others have not
			out.Ops = max(0, out.Ops) + float64(d.reads+d.writes)
		}
	}
	for _, name := range s.set.Members {
		if d, ok := all[name]; ok {
			out.Members = append(out.Members, governor.Member{Name: name, Reads: d.reads, Waited: d.waited})
		}
	}
	return out
}

// Stalls implements governor.Sensors.
func (s *Sensors) Stalls() governor.Stalls {
	out := governor.Stalls{Mail: -1, All: -1}
	if total, err := readPressure(s.set.roots.proc("pressure", "io")); err == nil {
		out.All = total
	}
	if s.cgroup != "" {
		if total, err := readPressure(s.cgroup + "/io.pressure"); err == nil {
			out.Mail = total
		}
	}
	return out
}

// sector is what the kernel counts reads of processes in.
const sector = 512

// Asked implements governor.Sensors.
func (s *Sensors) Asked() int64 { return askedBy(unix.RUSAGE_SELF) }

// AskedHere implements governor.Sensors.
func (s *Sensors) AskedHere() int64 { return askedBy(unix.RUSAGE_THREAD) }

func askedBy(whom int) int64 {
	var usage unix.Rusage
	if unix.Getrusage(whom, &usage) != nil {
		return 0
	}
	return usage.Inblock * sector
}

func readPressure(path string) (time.Duration, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read the pressure: %w", err)
	}
	return parsePressure(text)
}

// CheckCgroup says why the pressure of the mail server cannot be read.
func CheckCgroup(dir string) error {
	_, err := readPressure(dir + "/io.pressure")
	return err
}

// diskstat is what is used of one line of diskstats.
type diskstat struct {
	reads, writes uint64        // completed
	waited        time.Duration // by reads
}

// parseDiskstats reads /proc/diskstats, as the kernel's documentation of the
// I/O statistics fields has it. Lines that are not like that are left out.
func parseDiskstats(text []byte) map[string]diskstat {
	all := make(map[string]diskstat)
	for line := range bytes.Lines(text) {
		f := strings.Fields(string(line))
		if len(f) < 14 {
			continue
		}
		var n [5]uint64
		var err error
		for i := range n {
			bits := 64
			if i == 3 { // it wraps around
				bits = 32
			}
			v, e := strconv.ParseUint(f[3+i], 10, bits)
			n[i], err = v, errors.Join(err, e)
		}
		if err != nil {
			continue
		}
		all[f[2]] = diskstat{reads: n[0], writes: n[4], waited: time.Duration(n[3]) * time.Millisecond}
	}
	return all
}

// parsePressure reads the total of the line "some" of a pressure file: for how
// long at least one process has waited.
func parsePressure(text []byte) (time.Duration, error) {
	for line := range bytes.Lines(text) {
		f := strings.Fields(string(line))
		if len(f) == 0 || f[0] != "some" {
			continue
		}
		for _, field := range f[1:] {
			if n, ok := strings.CutPrefix(field, "total="); ok {
				total, err := strconv.ParseInt(n, 10, 64)
				if err != nil || total < 0 || total > int64(1<<62/time.Microsecond) {
					return 0, fmt.Errorf("pressure: %q is no total", n)
				}
				return time.Duration(total) * time.Microsecond, nil
			}
		}
	}
	return 0, fmt.Errorf("pressure: there is no line for some")
}
