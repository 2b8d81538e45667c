package pair

import (
	"strings"
	"testing"
)

func TestStatus(t *testing.T) {
	const primary = `{"role":"primary","epoch":1,"state":"in-sync","journal":{"sequence":7},
		"mirrors":[{"name":"b","state":"in-sync","acked_sequence":7,"lag_entries":0,"lag_bytes":0,"lag_seconds":0}]}`
	s, err := parseStatus([]byte(primary))
	if err != nil || !s.InSync() || s.Journal.Sequence != 7 || s.Mirrors[0].AckedSequence != 7 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, other := range []string{
		strings.Replace(primary, `"lag_entries":0`, `"lag_entries":1`, 1),
		strings.Replace(primary, `"state":"in-sync","acked`, `"state":"unknown","acked`, 1),
		`{"role":"primary","state":"in-sync","mirrors":[]}`,
	} {
		if s, err := parseStatus([]byte(other)); err != nil || s.InSync() {
			t.Errorf("%s is in sync, %v", other, err)
		}
	}
}

func TestEachStatus(t *testing.T) {
	var epochs []uint64
	err := eachStatus(strings.NewReader("{\"epoch\":1}\n{\"epoch\":2}\n{\"epoch\":3}\n"), func(s Status) bool {
		epochs = append(epochs, s.Epoch)
		return s.Epoch < 2
	})
	if err != nil || len(epochs) != 2 {
		t.Errorf("%v, %v; want the first two", epochs, err)
	}
}
