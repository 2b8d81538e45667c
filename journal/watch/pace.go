package watch

// leave waits until that many names may be looked at, and returns what to call
// when they have been. Meanwhile hints are served, and directories that have
// just appeared are listed: live mail never waits for what can wait.
func (w *Watcher) leave(names int) (done func(), err error) {
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
			if err := w.list(p, false); err != nil {
				return nil, err
			}
		}
	}
}
