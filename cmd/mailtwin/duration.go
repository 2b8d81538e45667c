package main

import (
	"time"

	"github.com/mailtwin/mailtwin/replicator/config"
)

// duration is a flag that is written like the durations of the settings.
type duration config.Duration

// Duration returns the value.
func (d duration) Duration() time.Duration { return time.Duration(d) }

// String implements pflag.Value.
func (d *duration) String() string { return config.Duration(*d).String() }

// Type implements pflag.Value.
func (d *duration) Type() string { return "duration" }

// Set implements pflag.Value.
func (d *duration) Set(text string) error {
	parsed, err := config.ParseDuration(text)
	*d = duration(parsed)
	return err
}
