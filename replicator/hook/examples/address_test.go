package examples

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/replicator/hook"
)

// namespace is a host of its own on the network: a network namespace. What
// is run in it is run by a program that the hook finds under the usual name.
type namespace struct {
	t    *testing.T
	name string
}

func newNamespace(t *testing.T, name string) namespace {
	t.Helper()
	n := namespace{t, fmt.Sprintf("hook-%s-%d", name, os.Getpid())}
	if out, err := exec.CommandContext(t.Context(), "ip", "netns", "add", n.name).CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%v: %s", err, out)
		}
		t.Skipf("SKIPPED: there can be no network namespace: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.CommandContext(context.Background(), "ip", "netns", "del", n.name).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	return n
}

func (n namespace) run(command ...string) string {
	n.t.Helper()
	args := append([]string{"netns", "exec", n.name}, command...)
	out, err := exec.CommandContext(n.t.Context(), "ip", args...).CombinedOutput()
	if err != nil {
		n.t.Fatalf("%q: %v: %s", command, err, out)
	}
	return string(out)
}

// Three hosts on a bridge: a client that has the old primary's hardware
// address in its table has to find the new one at once.
func TestAddressMoves(t *testing.T) {
	need(t, "ip")
	need(t, "arping")
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: network namespaces need root")
	}
	const address = "192.0.2.10"
	client, first, second := newNamespace(t, "c"), newNamespace(t, "a"), newNamespace(t, "b")
	client.run("ip", "link", "add", "br0", "type", "bridge")
	client.run("ip", "address", "add", "192.0.2.1/24", "dev", "br0")
	client.run("ip", "link", "set", "br0", "up")
	for i, host := range []namespace{first, second} {
		port := fmt.Sprintf("port%d", i)
		host.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", client.name)
		host.run("ip", "link", "set", "eth0", "up")
		host.run("ip", "address", "add", fmt.Sprintf("192.0.2.%d/24", i+2), "dev", "eth0")
		client.run("ip", "link", "set", port, "master", "br0", "up")
	}
	conf := "ADDRESS=" + address + "/24\nDEVICE=eth0\n"
	a, b := newBench(t, "address", conf), newBench(t, "address", conf)
	a.in(first)
	a.twice(hook.Promote, hook.Before)
	a.twice(hook.Promote, hook.After)
	client.run("ip", "neigh", "replace", address, "lladdr", hardware(first), "dev", "br0", "nud", "stale")

	a.twice(hook.Fence, hook.Before)
	if got := first.run("ip", "address", "show", "dev", "eth0"); strings.Contains(got, address) {
		t.Fatalf("after the fence the first host has it still: %s", got)
	}
	b.in(second)
	b.call.Planned = false
	b.twice(hook.Fence, hook.Before)
	b.twice(hook.Promote, hook.After)
	want := hardware(second)
	await(t, func() bool { return entry(client, address) == want })
	b.twice(hook.Demote, hook.After)
	if got := second.run("ip", "address", "show", "dev", "eth0"); strings.Contains(got, address) {
		t.Errorf("after the demotion the second host has it still: %s", got)
	}
}

func TestAddressOfIPv6(t *testing.T) {
	need(t, "ip")
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: network namespaces need root")
	}
	host := newNamespace(t, "v6")
	host.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
	host.run("ip", "link", "set", "eth1", "up")
	host.run("ip", "link", "set", "eth0", "up")
	b := newBench(t, "address", "ADDRESS=2001:db8::10/64\nDEVICE=eth0\n")
	b.in(host)
	b.twice(hook.Promote, hook.After)
	if got := host.run("ip", "-6", "address", "show", "dev", "eth0"); !strings.Contains(got, "2001:db8::10/64") {
		t.Errorf("it has %s", got)
	}
	b.twice(hook.Demote, hook.Before)
	if got := host.run("ip", "-6", "address", "show", "dev", "eth0"); strings.Contains(got, "2001:db8::10") {
		t.Errorf("it has %s", got)
	}
}

// In the sandbox of mailtwin.service nothing in /proc/sys can be changed. The address
// is taken all the same, and what is to be set is said; once it is, nothing is.
func TestAddressOfIPv6WhereNoSettingCanBeChanged(t *testing.T) {
	need(t, "ip")
	need(t, "unshare")
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: network namespaces need root")
	}
	host := newNamespace(t, "ro")
	host.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
	host.run("ip", "link", "set", "eth1", "up")
	host.run("ip", "link", "set", "eth0", "up")
	b := newBench(t, "address", "ADDRESS=2001:db8::10/64\nDEVICE=eth0\n")
	b.in(host, "unshare", "--mount", "sh", "-c", "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec \"$0\" \"$@\"")
	const said = "set net/ipv6/conf/eth0/ndisc_notify=1 in /etc/sysctl.d/"
	for _, set := range []string{"0", "1"} {
		host.run("sysctl", "-q", "-w", "net/ipv6/conf/eth0/ndisc_notify="+set)
		if out, err := b.run(hook.Promote, hook.After); err != nil || strings.Contains(fmt.Sprint(out), said) != (set == "0") {
			t.Errorf("with ndisc_notify=%s: %v, %s", set, err, out)
		}
		if got := host.run("ip", "-6", "address", "show", "dev", "eth0"); !strings.Contains(got, "2001:db8::10/64") {
			t.Errorf("it has %s", got)
		}
		b.twice(hook.Demote, hook.Before)
	}
}

// in has the hook run in a network namespace, by a command if one is given.
func (b *bench) in(n namespace, by ...string) {
	inner := filepath.Join(b.dir, "inner")
	write(b.t, inner, "#!/bin/sh\nexec \""+filepath.Join(b.dir, b.name)+"\" \"$@\"\n", 0o755)
	var quoted strings.Builder
	for _, word := range by {
		fmt.Fprintf(&quoted, "'%s' ", word)
	}
	outer := filepath.Join(b.dir, "outer")
	write(b.t, outer, "#!/bin/sh\nexec ip netns exec "+n.name+" "+quoted.String()+"\""+inner+"\" \"$@\"\n", 0o755)
	b.name = "outer"
}

// await waits for what the network does.
func await(t *testing.T, f func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for i := 0; !f(); i++ {
		if i == 500 {
			t.Fatal("it did not come about")
		}
		<-tick.C
	}
}

// entry returns whose an address is in the client's table.
func entry(client namespace, address string) string {
	fields := strings.Fields(client.run("ip", "neigh", "show", "to", address))
	for i, f := range fields {
		if f == "lladdr" && i+1 < len(fields) {
			return fields[i+1]
		}
	}
	return strings.Join(fields, " ")
}

func hardware(host namespace) string {
	return strings.TrimSpace(host.run("cat", "/sys/class/net/eth0/address"))
}
