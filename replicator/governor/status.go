package governor

// Status is what the governor does now.
type Status struct {
	Settings Settings
	// Profile is the one that holds, which may be another than that of the
	// settings while the array is failing.
	Profile Profile
	Paused  bool
	// ReadsPerSecond is the allowance, in operations; 0 with Unbound set is all
	// there is, else nothing.
	ReadsPerSecond float64
	Unbound        bool
	InFlight       int
	// UsedReads and UsedBytes are those of the last second or so.
	UsedReads, UsedBytes float64
	// Capacity and Others are in operations of the devices a second, 0 where
	// they are not known.
	Capacity, Others float64
	// Latency and Normal are of our reads, in seconds.
	Latency, Normal float64
	Reason          string
	Health          Health
	// BulkBytes and LiveBytes were read since the start.
	BulkBytes, LiveBytes uint64
}

// Status tells what the governor does now, and why.
func (g *Governor) Status() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	p, c := g.pacer, g.pacer.law
	s := Status{
		Settings: p.around.settings, Paused: p.around.stopped() != "",
		ReadsPerSecond: p.limits.ops, Unbound: p.limits.ops == 0, InFlight: p.limits.inFlight,
		UsedReads: c.used, UsedBytes: p.bytesRate, Capacity: c.capacity,
		Latency: c.latency.Seconds(), Normal: c.own.value.Seconds(),
		Reason: p.reason(), Health: p.around.health,
		BulkBytes: p.totals.bytes, LiveBytes: p.totals.liveBytes,
	}
	s.Profile, _ = p.around.profile()
	if s.Paused {
		s.ReadsPerSecond, s.Unbound = 0, false
	}
	if c.capacity > 0 {
		s.Others = c.othersOps()
	}
	return s
}
