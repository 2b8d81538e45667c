package status

import "testing"

func TestLost(t *testing.T) {
	for want, l := range map[string]Loss{
		"nothing": {Known: true},
		"unknown: nothing that is known of, but the other side is not heard of":        {},
		"unknown: nothing that is known of, but the primary cannot read 3 files":       {Known: true, Unreadable: 3},
		"unknown: at least 2 changes, 1.0 KiB, of the last 1.5s":                       {Known: true, Unreadable: 3, Entries: 2, Bytes: 1 << 10, Seconds: 1.5},
		"2 changes and 4 files that were never copied, 1.0 KiB":                        {Known: true, Entries: 2, Files: 4, Bytes: 1 << 10},
		"unknown: nothing that is known of, but what the other side says is 1m30s old": {Seconds: 90},
		"nothing; 5 messages are assumed equal, by name and size, not yet proven":      {Known: true, Assumed: 5},
	} {
		if got := Lost(l); got.Words != want || got.Known && l.Unreadable > 0 {
			t.Errorf("%+v, want %q", got, want)
		}
	}
}
