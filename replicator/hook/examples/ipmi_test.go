package examples

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/replicator/hook"
)

// bmc is a management controller that ipmi_sim simulates, with the power that it
// switches: the word in a file.
type bmc struct {
	t    *testing.T
	dir  string
	host string
	port string
	stop func()
}

// newBMC starts a controller that the user mailtwin may give orders to.
func newBMC(t *testing.T) *bmc {
	t.Helper()
	need(t, "ipmi_sim")
	need(t, "ipmitool")
	s := &bmc{t: t, dir: t.TempDir()}
	s.host, s.port = freePort(t)
	write(t, s.path("power"), "on\n", 0o644)
	write(t, s.path("password"), "secret\n", 0o600)
	write(t, s.path("chassis"), fmt.Sprintf(chassis, s.dir), 0o755)
	write(t, s.path("lan.conf"), fmt.Sprintf(lanConf, s.host, s.port, s.path("chassis")), 0o600)
	write(t, s.path("bmc.emu"), bmcEmu, 0o644)
	if err := os.Mkdir(s.path("state"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.start()
	return s
}

// chassis is what the controller runs to learn and to switch the power.
const chassis = `#!/bin/sh
cd '%s'
case "$2 $3 $4" in
"get power "*) if [ "$(cat power)" = on ]; then echo power:1; else echo power:0; fi ;;
"set power 0") echo off >power ;;
"set power 1") echo on >power ;;
esac
`

const lanConf = `name "bmc"
set_working_mc 0x20
startlan 1
  addr %s %s
  priv_limit admin
  allowed_auths_admin md5
  guid a123456789abcdefa123456789abcdef
endlan
chassis_control "%s 0x20"
user 1 true "" "" user 10 none
user 2 true "mailtwin" "secret" admin 10 md5
`

const bmcEmu = `mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02
mc_enable 0x20
`

// start starts the controller, and waits until it answers.
func (s *bmc) start() {
	s.t.Helper()
	var said bytes.Buffer
	c := exec.CommandContext(s.t.Context(), "ipmi_sim", "-n", "-c", s.path("lan.conf"), "-f", s.path("bmc.emu"), "-s", s.path("state"))
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = c.Wait(); close(ended) }()
	s.stop = func() { _ = c.Process.Kill(); <-ended }
	s.t.Cleanup(s.stop)
	for range 5 {
		if s.power() != "" {
			return
		}
		select {
		case <-ended:
			s.t.Fatalf("ipmi_sim has ended: %s", said.String())
		default:
		}
	}
	s.t.Fatal("ipmi_sim does not answer")
}

func (s *bmc) path(name string) string { return filepath.Join(s.dir, name) }

// power asks the controller for the power; it is patient, for the machine may be busy.
func (s *bmc) power() string {
	out, err := exec.CommandContext(s.t.Context(), "ipmitool", "-I", "lanplus", "-H", s.host, "-p", s.port, "-U", "mailtwin",
		"-f", s.path("password"), "-N", "2", "-R", "4", "-C", "3", "chassis", "power", "status").Output()
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "Chassis Power is ")
}

// conf returns what hooks.conf says of the controller.
func (s *bmc) conf(user, password, options string) string {
	return fmt.Sprintf("IPMI_HOST=%s\nIPMI_USER=%s\nIPMI_PASSWORD_FILE=%s\nIPMI_OPTIONS=\"-p %s %s\"\n",
		s.host, user, s.path(password), s.port, options)
}

// freePort returns a UDP port that nobody else uses: those of 127.0.0.1 are often
// given away.
func freePort(t *testing.T) (host, port string) {
	t.Helper()
	l, err := net.ListenPacket("udp", fmt.Sprintf("127.83.%d.%d:0", os.Getpid()>>8&255, os.Getpid()&254|1))
	if err != nil {
		t.Fatal(err)
	}
	host, port, err = net.SplitHostPort(l.LocalAddr().String())
	if err = errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	return host, port
}

// fails runs the fence hook, which has to fail and to end with what is wanted.
func (b *bench) fails(want string) {
	b.t.Helper()
	if said, err := b.run(hook.Fence, hook.Before); !errors.Is(err, hook.ErrFailed) || !strings.Contains(err.Error(), want) {
		b.t.Errorf("%v, want %q\n%s", err, want, said)
	}
}

func TestIPMISwitchesTheOldPrimaryOff(t *testing.T) {
	s := newBMC(t)
	b := newBench(t, "ipmi", s.conf("mailtwin", "password", "-C 3 -N 5"))
	b.twice(hook.Fence, hook.Before)
	if got := s.power(); got != "on" {
		t.Fatalf("in a planned switchover the power is %q", got)
	}
	b.call.Planned = false
	for _, want := range []string{"mx1 is off", "mx1 was off already"} {
		if said, err := b.run(hook.Fence, hook.Before); err != nil || said != want {
			t.Errorf("it said %q, %v, want %q", said, err, want)
		}
		if got := s.power(); got != "off" {
			t.Errorf("the power is %q", got)
		}
	}
}

func TestIPMIThatCannotSwitch(t *testing.T) {
	s := newBMC(t)
	write(t, s.path("wrong"), "guess\n", 0o600)
	for _, one := range []struct{ user, password, options, want string }{
		{"mailtwin", "wrong", "-C 3 -N 5", s.host + " has another password than " + s.path("wrong")},
		{"nobody", "password", "-C 3 -N 5", s.host + " did not say whether mx1 is on or off"},
		{"mailtwin", "password", "-C 17 -N 5", s.host + " did not say whether mx1 is on or off"},
		{"mailtwin", "missing", "-C 3", "there is no password in " + s.path("missing")},
	} {
		b := newBench(t, "ipmi", s.conf(one.user, one.password, one.options))
		b.call.Planned = false
		b.fails(one.want)
		if got := s.power(); got != "on" {
			t.Errorf("%+v: the power is %q", one, got)
		}
	}
	s.stop()
	// Of options that are there twice the operator's counts: one try is enough here.
	b := newBench(t, "ipmi", s.conf("mailtwin", "password", "-C 3 -N 1 -R 1"))
	b.call.Planned = false
	b.fails(s.host + " did not say whether mx1 is on or off")
}

// ipmitool stands for the program where the order of its options counts, and where a
// controller has to do what the simulated one does not.
const ipmitool = `
[ ! -e silent ] || { echo "Error: Unable to establish IPMI session" >&2; exit 1; }
case $*,$(cat power) in
*status,*) echo "Chassis Power is $(cat power)" ;;
*off,on) [ ! -e deaf ] || exit 1; echo "Chassis Power Control: Down/Off"; [ -e stuck ] || echo off >power ;;
*) exit 1 ;; # off already
esac
`

func TestIPMIIsAskedInTheRightOrder(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	b := newBench(t, "ipmi", "IPMI_HOST=\"$MAILTWIN_PEER-ipmi\"\nIPMI_USER=u\nIPMI_WAIT=1\nIPMI_PASSWORD_FILE="+password+"\n")
	write(t, password, "secret\n", 0o600)
	b.program("ipmitool", ipmitool)
	power := filepath.Join(b.bin, "power")
	write(t, power, "on\n", 0o644)
	b.twice(hook.Fence, hook.Before) // planned: it stops itself
	b.twice(hook.Promote, hook.After)
	if got := b.calls(); got[0] != "" {
		t.Errorf("it was called for nothing: %q", got)
	}
	b.call.Planned = false
	b.twice(hook.Fence, hook.Before)
	if got, _ := os.ReadFile(power); string(got) != "off\n" {
		t.Errorf("the power is %s", got)
	}
	want := "ipmitool -I lanplus -H mx1-ipmi -U u -f " + password + " -v -N 1 -R 2 chassis power status"
	if got := b.calls(); got[0] != want || len(got) != 4 {
		t.Errorf("%q", got)
	}
	b.twice(hook.Fence, hook.After)

	write(t, power, "on\n", 0o644)
	write(t, filepath.Join(b.bin, "stuck"), "", 0o644)
	b.fails("mx1 is not off after 1 seconds")
	write(t, filepath.Join(b.bin, "deaf"), "", 0o644)
	b.fails("mx1-ipmi did not take the order; is mx1 off?")
	write(t, filepath.Join(b.bin, "silent"), "", 0o644)
	b.fails("mx1-ipmi did not say whether mx1 is on or off")
	write(t, password, "", 0o600)
	b.fails("there is no password in " + password)
	b.call.Peer = "mx2"
	b.fails("does not switch itself off")
	b.call.Peer = ""
	b.fails("not known which node")
}
