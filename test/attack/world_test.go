package attack

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/network/api"
	"github.com/hutch-project/hutch/internal/paths"
	"github.com/hutch-project/hutch/internal/sys"
	"github.com/hutch-project/hutch/internal/testenv"
)

// A world is a simulated workstation with a hutchd on it.
type world struct {
	*testenv.Workstation
	t      *testing.T
	layout paths.Layout
	daemon *exec.Cmd
}

func newWorld(t *testing.T) *world {
	t.Helper()
	testenv.RequireTools(t, "nft", "ip", "bridge", "ping", "go")
	w := &world{Workstation: testenv.NewWorkstation(t), t: t}
	var err error
	if w.layout, err = paths.SystemBelow(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.kill(unix.SIGKILL)
		w.hutchd("--cleanup")
	})
	return w
}

// start starts hutchd and waits until it answers.
func (w *world) start(args ...string) {
	w.t.Helper()
	bin, err := hutchd()
	if err != nil {
		w.t.Fatal(err)
	}
	w.daemon = exec.Command(bin, append([]string{"--idle=0"}, args...)...)
	w.daemon.Env = append(os.Environ(), paths.RootVariable+"="+w.layout.Root)
	var log strings.Builder
	w.daemon.Stdout, w.daemon.Stderr = &log, &log
	if err := w.Start(w.Host, w.daemon); err != nil {
		w.t.Fatal(err)
	}
	for range 500 {
		if c, err := api.Dial(w.layout.NetdSocket()); err == nil {
			c.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.kill(unix.SIGKILL)
	w.t.Fatalf("hutchd does not answer: %s", log.String())
}

// kill ends hutchd with a signal.
func (w *world) kill(s syscall.Signal) {
	if w.daemon != nil {
		w.daemon.Process.Signal(s)
		w.daemon.Wait()
		w.daemon = nil
	}
}

// hutchd runs hutchd to its end on the host.
func (w *world) hutchd(args ...string) {
	w.t.Helper()
	bin, err := hutchd()
	if err != nil {
		w.t.Fatal(err)
	}
	c := exec.Command(bin, args...)
	c.Env = append(os.Environ(), paths.RootVariable+"="+w.layout.Root)
	var out strings.Builder
	c.Stdout, c.Stderr = &out, &out
	if err := w.Start(w.Host, c); err != nil {
		w.t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		w.t.Errorf("hutchd %v: %v: %s", args, err, out.String())
	}
}

func (w *world) client() *api.Client {
	w.t.Helper()
	c, err := api.Dial(w.layout.NetdSocket())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

// run runs a command in a namespace; it must succeed.
func (w *world) run(ns *os.File, command string) string {
	w.t.Helper()
	out, err := w.Run(ns, "sh", "-ec", command)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// router is the router's namespace.
func (w *world) router() *os.File {
	w.t.Helper()
	var f *os.File
	path := w.layout.RouterNamespace()
	// The file is bound in the mount namespace of the workstation alone.
	c := exec.Command("sleep", "infinity")
	err := w.Start(w.Host, c)
	if err == nil {
		f, err = os.Open(fmt.Sprintf("/proc/%d/root%s", c.Process.Pid, path))
		c.Process.Kill()
		c.Wait()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { f.Close() })
	return f
}

// A container is a stand-in for one: a process in a user and a network namespace
// of its own.
type container struct {
	id, name string
	ns       *os.File
	process  *exec.Cmd
	lease    *api.Lease
}

func newID(t *testing.T) string {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b)
}

func newContainer(t *testing.T, name string) *container {
	t.Helper()
	c := &container{id: newID(t), name: name, process: exec.Command("sleep", "infinity")}
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 700000, Size: 65536}}
	c.process.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET, UidMappings: ids, GidMappings: ids}
	if err := c.process.Start(); err != nil {
		t.Fatal(err)
	}
	var err error
	if c.ns, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", c.process.Process.Pid)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.end)
	return c
}

// end ends the container, its namespace with it.
func (c *container) end() {
	if c.process != nil {
		c.process.Process.Kill()
		c.process.Wait()
		c.ns.Close()
		c.process = nil
	}
}

// attached makes a container with a port.
func (w *world) attached(name string) *container {
	w.t.Helper()
	c := newContainer(w.t, name)
	w.attach(c)
	return c
}

func (w *world) attach(c *container) {
	w.t.Helper()
	client, err := api.Dial(w.layout.NetdSocket())
	if err != nil {
		w.t.Fatal(err)
	}
	defer client.Close()
	if c.lease, err = client.Attach(api.Attach{ID: c.id, Name: c.name, Policy: api.Internet}, c.ns); err != nil {
		w.t.Fatal(err)
	}
}

// flat makes a container as one is had by hand: a link to the host, forwarding on,
// everything masqueraded, no filter.
func (w *world) flat() *container {
	w.t.Helper()
	c := newContainer(w.t, "flat")
	if err := testenv.Cable(w.Host, "flat0", c.ns, "eth0"); err != nil {
		w.t.Fatal(err)
	}
	for _, d := range []struct {
		ns   *os.File
		link string
		at   []string
	}{{w.Host, "flat0", []string{"10.99.0.1/24", "fd99::1/64"}}, {c.ns, "eth0", []string{"10.99.0.2/24", "fd99::2/64"}}, {c.ns, "lo", nil}} {
		if err := testenv.Dress(d.ns, d.link, d.at...); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, r := range [][2]string{{"0.0.0.0/0", "10.99.0.1"}, {"::/0", "fd99::1"}} {
		if err := testenv.Route(c.ns, r[0], r[1], "eth0"); err != nil {
			w.t.Fatal(err)
		}
	}
	w.run(w.Host, `echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
nft 'add table inet flat; add chain inet flat post { type nat hook postrouting priority 100; }; add rule inet flat post iifname flat0 masquerade; add rule inet flat post ip saddr 10.99.0.0/24 masquerade; add rule inet flat post ip6 saddr fd99::/64 masquerade'`)
	return c
}

// in runs f on a thread in the container's network.
func (c *container) in(f func() error) error { return sys.InNamespace(c.ns, unix.CLONE_NEWNET, f) }

// waiting is how long a probe waits for an answer that may never come. It decides
// only how long a closed door is knocked at.
const waiting = 700 * time.Millisecond

// reach tries to get an answer from an address by "tcp", "udp" or "ping" and
// returns the name of who answered, or an error.
func (c *container) reach(how, address string, port int) (string, error) {
	var name string
	err := c.in(func() error {
		if how == "ping" {
			name = "somebody"
			return exec.Command("ping", "-n", "-c1", "-W1", address).Run()
		}
		conn, err := net.DialTimeout(how, net.JoinHostPort(address, fmt.Sprint(port)), waiting)
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(waiting))
		if how == "udp" {
			if _, err := conn.Write([]byte("hello\n")); err != nil {
				return err
			}
		}
		line, err := bufio.NewReader(conn).ReadString('\n')
		name = strings.TrimSpace(line)
		return err
	})
	return name, err
}

// A target is an address of the simulated world.
type target struct{ what, address string }

var open = []target{
	{"the Internet", testenv.Internet4},
	{"the Internet by IPv6", testenv.Internet6},
	{"a resolver", testenv.Resolver4},
}

var closed = []target{
	{"the host on the LAN", testenv.HostLAN4},
	{"the host on the LAN by IPv6", testenv.HostLAN6},
	{"the host's public address", testenv.HostPublic4},
	{"the host on the VPN", testenv.HostVPN4},
	{"the host on the VPN by IPv6", testenv.HostVPN6},
	{"a LAN neighbour", testenv.LAN4},
	{"a LAN neighbour by IPv6", testenv.LAN6},
	{"a LAN neighbour's public address", testenv.LANPublic4},
	{"the LAN's gateway", testenv.Gateway4},
	{"the LAN's gateway by IPv6", testenv.Gateway6},
	{"the VPN", testenv.VPN4},
	{"the VPN by IPv6", testenv.VPN6},
	{"behind the VPN", testenv.BehindVPN4},
	{"behind the VPN by IPv6", testenv.BehindVPN6},
}

var ways = []string{"tcp", "udp", "ping"}

// matrix tries every way to every target, many at once, and returns what answered.
func (c *container) matrix(targets []target) map[string]string {
	answers := map[string]string{}
	var mu sync.Mutex
	var group sync.WaitGroup
	for _, to := range targets {
		for _, how := range ways {
			group.Go(func() {
				if name, err := c.reach(how, to.address, testenv.WorkstationPort); err == nil {
					mu.Lock()
					answers[to.what+" ("+to.address+") by "+how] = name
					mu.Unlock()
				}
			})
		}
	}
	group.Wait()
	return answers
}

// checkMatrix expects all of the open ones to answer and none of the closed.
func (c *container) checkMatrix(t *testing.T, extra ...target) {
	t.Helper()
	for what, name := range c.matrix(append(extra, closed...)) {
		t.Errorf("reached %s: %s", what, name)
	}
	if got := c.matrix(open); len(got) != len(open)*len(ways) {
		t.Errorf("of the Internet only %v answered", got)
	}
}

// eventually waits until f is true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for giveUp := time.Now().Add(20 * time.Second); time.Now().Before(giveUp); time.Sleep(10 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("it never came to pass that %s", what)
}

// A frame is sent as it is on the container's eth0.
func (c *container) send(t *testing.T, frames ...[]byte) {
	t.Helper()
	err := c.in(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		for _, f := range frames {
			for {
				err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: link.Index, Halen: 6})
				if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EAGAIN) {
					time.Sleep(time.Millisecond)
					continue
				}
				if err != nil {
					return err
				}
				break
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sniff collects the frames that arrive on the container's eth0 until stop is
// called.
func (c *container) sniff(t *testing.T) (stop func() [][]byte) {
	t.Helper()
	var fd int
	if err := c.in(func() error {
		var err error
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL))); err != nil {
			return err
		}
		return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50000})
	}); err != nil {
		t.Fatal(err)
	}
	var frames [][]byte
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 65536)
		for {
			n, from, err := unix.Recvfrom(fd, buffer, 0)
			if l, ok := from.(*unix.SockaddrLinklayer); err == nil && ok && l.Pkttype != unix.PACKET_OUTGOING {
				frames = append(frames, append([]byte(nil), buffer[:n]...))
			}
			select {
			case <-end:
				if err != nil { // nothing more is waiting
					return
				}
			default:
			}
		}
	}()
	return func() [][]byte {
		close(end)
		<-done
		unix.Close(fd)
		return frames
	}
}

func htons(n uint16) uint16 { return n<<8 | n>>8 }

func mac(t *testing.T, s string) net.HardwareAddr {
	t.Helper()
	m, err := net.ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func hardware(t *testing.T, c *container) net.HardwareAddr { return mac(t, c.lease.MAC) }

// bridgeMAC is the router's on the bridge, as the container knows it.
func (c *container) bridgeMAC(t *testing.T) net.HardwareAddr {
	t.Helper()
	var out []byte
	if err := c.in(func() (err error) {
		out, err = exec.Command("ip", "neigh", "show", c.lease.Gateway4.String(), "dev", "eth0").Output()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(out))
	for i, f := range fields {
		if f == "lladdr" {
			return mac(t, fields[i+1])
		}
	}
	t.Fatalf("no hardware address in %q", out)
	return nil
}

// ethernet, ipv4, udp and arp build frames by hand, with whatever source.
func ethernet(to, from net.HardwareAddr, kind uint16, payload []byte) []byte {
	f := append(append(append([]byte{}, to...), from...), byte(kind>>8), byte(kind))
	return append(f, payload...)
}

func checksum(b []byte, sum uint32) uint16 {
	for i := 0; i < len(b); i += 2 {
		w := uint32(b[i]) << 8
		if i+1 < len(b) {
			w |= uint32(b[i+1])
		}
		sum += w
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// ip makes an IP packet of either family around a payload.
func ip(from, to netip.Addr, protocol byte, payload []byte) []byte {
	if from.Is4() {
		n := 20 + len(payload)
		h := []byte{0x45, 0, byte(n >> 8), byte(n), 0, 0, 0x40, 0, 64, protocol, 0, 0}
		h = append(append(h, from.AsSlice()...), to.AsSlice()...)
		sum := checksum(h, 0)
		h[10], h[11] = byte(sum>>8), byte(sum)
		return append(h, payload...)
	}
	n := len(payload)
	hops := byte(64)
	if protocol == 58 {
		hops = 255
	}
	h := []byte{0x60, 0, 0, 0, byte(n >> 8), byte(n), protocol, hops}
	h = append(append(h, from.AsSlice()...), to.AsSlice()...)
	return append(h, payload...)
}

// pseudo is the sum of the pseudo header.
func pseudo(from, to netip.Addr, protocol byte, n int) uint32 {
	b := append(append([]byte{}, from.AsSlice()...), to.AsSlice()...)
	return uint32(^checksum(b, 0)) + uint32(protocol) + uint32(n)
}

func udp(from, to netip.AddrPort, payload string) []byte {
	n := 8 + len(payload)
	u := []byte{byte(from.Port() >> 8), byte(from.Port()), byte(to.Port() >> 8), byte(to.Port()), byte(n >> 8), byte(n), 0, 0}
	u = append(u, payload...)
	sum := checksum(u, pseudo(from.Addr(), to.Addr(), 17, n))
	u[6], u[7] = byte(sum>>8), byte(sum)
	return ip(from.Addr(), to.Addr(), 17, u)
}

func icmp6(from, to netip.Addr, message []byte) []byte {
	m := append([]byte{}, message...)
	sum := checksum(m, pseudo(from, to, 58, len(m)))
	m[2], m[3] = byte(sum>>8), byte(sum)
	return ip(from, to, 58, m)
}

// arp makes an ARP message (RFC 826); operation 1 asks, 2 answers.
func arp(operation byte, senderMAC net.HardwareAddr, sender netip.Addr, targetMAC net.HardwareAddr, target netip.Addr) []byte {
	a := []byte{0, 1, 8, 0, 6, 4, 0, operation}
	a = append(append(a, senderMAC...), sender.AsSlice()...)
	return append(append(a, targetMAC...), target.AsSlice()...)
}
