package health

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/mailtwin/mailtwin/replicator/governor"
)

func (c *Checker) sys(path ...string) string {
	root := c.cfg.Roots.Sys
	if root == "" {
		root = "/sys"
	}
	return filepath.Join(append([]string{root}, path...)...)
}

func (c *Checker) proc(path ...string) string {
	root := c.cfg.Roots.Proc
	if root == "" {
		root = "/proc"
	}
	return filepath.Join(append([]string{root}, path...)...)
}

// attribute reads a small file of sysfs; "" if it is not there.
func attribute(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// md looks at the software array name, if it is one; see the kernel's
// documentation of md.
func (c *Checker) md(name string) (Finding, bool) {
	dir := c.sys("class", "block", name, "md")
	state := attribute(filepath.Join(dir, "array_state"))
	if state == "" {
		return Finding{}, false
	}
	f := Finding{Source: "md " + name, State: governor.Healthy}
	degraded, _ := strconv.Atoi(attribute(filepath.Join(dir, "degraded")))
	action := attribute(filepath.Join(dir, "sync_action"))
	var words []string
	switch state {
	case "broken", "inactive", "suspended", "clear":
		f.State = governor.Failing
		words = append(words, "it is "+state)
	}
	if degraded > 0 && f.State != governor.Failing {
		f.State = governor.Degraded
		words = append(words, fmt.Sprintf("%d of %s members are missing", degraded, attribute(filepath.Join(dir, "raid_disks"))))
	}
	switch action {
	case "recover", "resync", "reshape":
		if f.State != governor.Failing {
			f.State = governor.Degraded
		}
		words = append(words, action+progress(attribute(filepath.Join(dir, "sync_completed"))))
	}
	faulty, _ := filepath.Glob(filepath.Join(dir, "dev-*", "state"))
	for _, path := range faulty {
		if slices.Contains(strings.Split(attribute(path), ","), "faulty") {
			words = append(words, strings.TrimPrefix(filepath.Base(filepath.Dir(path)), "dev-")+" is faulty")
		}
	}
	f.Words = strings.Join(words, ", ")
	return f, true
}

// progress reads "123 / 456" sectors as a share, in words.
func progress(s string) string {
	done, all, ok := strings.Cut(s, " / ")
	d, err1 := strconv.ParseFloat(done, 64)
	a, err2 := strconv.ParseFloat(all, 64)
	if !ok || err1 != nil || err2 != nil || !(a > 0) || !(d >= 0) || d > a {
		return ""
	}
	return fmt.Sprintf(" at %.0f %%", 100*d/a)
}

// btrfs looks at the devices of a btrfs: /sys/fs/btrfs/UUID/devinfo has a
// directory for each, with its counters of errors.
func (c *Checker) btrfs(uuid string) Finding {
	f := Finding{Source: "btrfs", State: governor.Unknown}
	devices, err := filepath.Glob(c.sys("fs", "btrfs", uuid, "devinfo", "*"))
	if err != nil || len(devices) == 0 {
		f.Words = "the kernel shows nothing of its devices"
		return f
	}
	var words []string
	bad := 0
	for _, dir := range devices {
		id := filepath.Base(dir)
		if attribute(filepath.Join(dir, "missing")) == "1" {
			words = append(words, "device "+id+" is missing")
			bad++
			continue
		}
		grown := false
		for name, n := range parseErrorStats(attribute(filepath.Join(dir, "error_stats"))) {
			key := uuid + "/" + id + "/" + name
			first, known := c.errors[key]
			if !known || n < first { // or they were reset
				c.errors[key] = n
				continue
			}
			if n > first {
				grown = true
				words = append(words, fmt.Sprintf("device %s has %d new %s", id, n-first, name))
			}
		}
		if grown {
			bad++
		}
	}
	slices.Sort(words)
	f.State, f.Words = governor.Healthy, strings.Join(words, ", ")
	switch {
	case bad == 0:
	case bad == len(devices): // there is no good copy left to count on
		f.State = governor.Failing
	default:
		f.State = governor.Degraded
	}
	return f
}

// parseErrorStats reads lines of a name and a number.
func parseErrorStats(text string) map[string]uint64 {
	out := make(map[string]uint64)
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 2 || !strings.HasSuffix(f[0], "_errs") {
			continue
		}
		if n, err := strconv.ParseUint(f[1], 10, 64); err == nil {
			out[f[0]] = n
		}
	}
	return out
}
