package watch

// freeLooks is how many names of a tree that was renamed are looked at without
// leave. A folder that somebody renames is live mail, and may have just been
// made; a tree of thousands is not what mail clients rename.
const freeLooks = 256

// leave waits until that many names may be looked at, and returns what to call
// when they have been. Meanwhile hints are served, directories that have just
// appeared are listed, and those that were renamed are walked: live mail never
// waits for what can wait.
func (w *Watcher) leave(names int) (done func(), err error) {
	if w.free > 0 {
		w.free -= names
		return func() {}, nil
	}
	for {
		if w.alone.Load() {
			return func() {}, nil
		}
		done, wait := w.cfg.Pace.Look(names)
		if wait <= 0 {
			return done, nil
		}
		select {
		case <-w.ctx.Done():
			return nil, w.ctx.Err()
		case <-w.dirty.wake:
		case <-w.cfg.Clock.After(min(wait, w.cfg.Timing.Health)):
		}
		if err := w.serve(); err != nil {
			return nil, err
		}
		if p, ok := w.dirty.takeDir(); ok {
			err := w.list(p, false)
			w.looked(1)
			if err != nil {
				return nil, err
			}
		}
		if err := w.walkMeanwhile(); err != nil {
			return nil, err
		}
	}
}

// walkMeanwhile walks a directory that was renamed, while another walk waits for
// leave. If it has to wait for leave too, no third one begins. The baseline comes
// to everything by itself.
func (w *Watcher) walkMeanwhile() error {
	if w.within || w.baseline {
		return nil
	}
	p, ok := w.dirty.takeWalk()
	if !ok {
		return nil
	}
	w.within = true
	defer func() { w.within = false }()
	return w.walkDirty(p)
}
