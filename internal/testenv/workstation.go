package testenv

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/sys"
	"github.com/hutch-project/hutch/internal/undo"
)

// Addresses in the simulated world. All of them exist inside its namespaces only;
// those of the Internet are real global ones, as block lists must tell them apart.
const (
	HostLAN4, HostLAN6   = "192.168.50.2", "2a01:4f8:50::2"
	HostPublic4          = "23.45.60.2"
	HostVPN4, HostVPN6   = "7.7.7.2", "2a02:7777::2"
	LAN4, LAN6           = "192.168.50.10", "2a01:4f8:50::10"
	LANPublic4           = "23.45.60.10" // a neighbour with a public address
	Gateway4, Gateway6   = "192.168.50.1", "2a01:4f8:50::1"
	Internet4, Internet6 = "93.184.216.34", "2a00:1450::34"
	Resolver4            = "9.9.9.9"
	VPN4, VPN6           = "7.7.7.1", "2a02:7777::1"
	BehindVPN4           = "11.22.0.5"
	BehindVPN6           = "2a02:1122::5"
)

// WorkstationPort is where each machine of the simulated world answers with its
// name, by TCP and by UDP.
const WorkstationPort = 8080

// A Workstation is a simulated one in network namespaces: a host with a LAN
// neighbour, a way into the Internet and a VPN.
//
//	lan ──br0── eth0 host tun0 ── vpn
//	      │
//	      └──── wan0 internet (the gateway, 192.168.50.1)
//
// The namespaces have no names and end with the last process inside. What is
// started in them shares a mount namespace of its own, so that bind mounts made
// there never reach the machine.
type Workstation struct {
	Host, LAN, Internet, VPN *os.File
	mounts                   *os.File
	back                     undo.Stack
}

// NewWorkstation builds a simulated workstation that ends with the test.
func NewWorkstation(t testing.TB) *Workstation {
	t.Helper()
	RequireRoot(t)
	w, err := OpenWorkstation()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// OpenWorkstation builds a simulated workstation. It needs root.
func OpenWorkstation() (w *Workstation, err error) {
	w = &Workstation{}
	defer func() {
		if err != nil {
			err = fmt.Errorf("simulated workstation: %w", errors.Join(err, w.Close()))
			w = nil
		}
	}()
	if w.mounts, err = NewNamespace(unix.CLONE_NEWNS); err != nil {
		return w, err
	}
	w.back.Push("close", w.mounts.Close)
	for _, ns := range []**os.File{&w.Host, &w.LAN, &w.Internet, &w.VPN} {
		if *ns, err = NewNamespace(unix.CLONE_NEWNET); err != nil {
			return w, err
		}
		w.back.Push("close", (*ns).Close)
	}
	if err := w.wire(); err != nil {
		return w, err
	}
	for _, s := range []struct {
		name string
		ns   *os.File
	}{{"host", w.Host}, {"lan", w.LAN}, {"internet", w.Internet}, {"vpn", w.VPN}} {
		if err := w.Serve(s.ns, s.name, WorkstationPort); err != nil {
			return w, err
		}
	}
	return w, nil
}

// Close ends the servers and lets go of the namespaces.
func (w *Workstation) Close() error { return w.back.Unwind() }

// NewNamespace makes a namespace that nothing is in but its descriptor. kind is
// unix.CLONE_NEWNET or unix.CLONE_NEWNS; the latter is private.
func NewNamespace(kind int) (*os.File, error) {
	var f *os.File
	err := sys.OnOwnThread(func() (err error) {
		if err := unix.Unshare(kind); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		path := "/proc/thread-self/ns/net"
		if kind == unix.CLONE_NEWNET {
			// No address is tentative for a second: before and after look alike.
			for _, c := range []string{"all", "default"} {
				os.WriteFile("/proc/sys/net/ipv6/conf/"+c+"/accept_dad", []byte("0"), 0)
			}
		}
		if kind == unix.CLONE_NEWNS {
			path = "/proc/thread-self/ns/mnt"
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return os.NewSyscallError("mount", err)
			}
		}
		f, err = os.Open(path)
		return err
	})
	return f, err
}

type end struct {
	ns        *os.File
	name      string
	addresses []string
}

func (w *Workstation) wire() error {
	if err := in(w.LAN, func(h *netlink.Handle) error {
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		if err := h.LinkAdd(br); err != nil {
			return err
		}
		return dress(h, "br0", LAN4+"/24", LANPublic4+"/24", LAN6+"/64")
	}); err != nil {
		return err
	}
	for _, pair := range [][2]end{
		{{w.LAN, "host", nil}, {w.Host, "eth0", []string{HostLAN4 + "/24", HostPublic4 + "/24", HostLAN6 + "/64"}}},
		{{w.LAN, "wan", nil}, {w.Internet, "wan0", []string{Gateway4 + "/24", "23.45.60.1/24", Gateway6 + "/64"}}},
		{{w.VPN, "peer0", []string{VPN4 + "/24", VPN6 + "/64"}}, {w.Host, "tun0", []string{HostVPN4 + "/24", HostVPN6 + "/64"}}},
	} {
		if err := Cable(pair[0].ns, pair[0].name, pair[1].ns, pair[1].name); err != nil {
			return err
		}
		for _, e := range pair {
			if err := in(e.ns, func(h *netlink.Handle) error {
				if e.ns == w.LAN {
					br, err := h.LinkByName("br0")
					if err != nil {
						return err
					}
					port, err := h.LinkByName(e.name)
					if err != nil {
						return err
					}
					if err := h.LinkSetMaster(port, br); err != nil {
						return err
					}
				}
				return dress(h, e.name, e.addresses...)
			}); err != nil {
				return err
			}
		}
	}
	for _, ns := range []struct {
		ns *os.File
		lo []string
	}{{w.Host, nil}, {w.LAN, nil},
		{w.Internet, []string{Internet4 + "/32", Resolver4 + "/32", Internet6 + "/128"}},
		{w.VPN, []string{BehindVPN4 + "/32", BehindVPN6 + "/128"}}} {
		if err := in(ns.ns, func(h *netlink.Handle) error { return dress(h, "lo", ns.lo...) }); err != nil {
			return err
		}
	}
	for _, r := range []struct {
		ns           *os.File
		dst, via, on string
	}{
		{w.Host, "0.0.0.0/0", Gateway4, "eth0"}, {w.Host, "::/0", Gateway6, "eth0"},
		{w.Host, "11.22.0.0/16", VPN4, "tun0"}, {w.Host, "2a02:1122::/48", VPN6, "tun0"},
		{w.LAN, "0.0.0.0/0", Gateway4, "br0"}, {w.LAN, "::/0", Gateway6, "br0"},
		{w.VPN, "0.0.0.0/0", HostVPN4, "peer0"}, {w.VPN, "::/0", HostVPN6, "peer0"},
	} {
		if err := Route(r.ns, r.dst, r.via, r.on); err != nil {
			return err
		}
	}
	return nil
}

// Cable joins two namespaces by a pair of links, both up.
func Cable(a *os.File, nameA string, b *os.File, nameB string) error {
	if err := in(a, func(h *netlink.Handle) error {
		return h.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: nameA}, PeerName: nameB, PeerNamespace: netlink.NsFd(b.Fd())})
	}); err != nil {
		return fmt.Errorf("cable %s to %s: %w", nameA, nameB, err)
	}
	if err := Dress(a, nameA); err != nil {
		return err
	}
	return Dress(b, nameB)
}

// Dress gives a link addresses and sets it up.
func Dress(ns *os.File, link string, addresses ...string) error {
	return in(ns, func(h *netlink.Handle) error { return dress(h, link, addresses...) })
}

// Route adds a route through a gateway on a link.
func Route(ns *os.File, destination, via, link string) error {
	return in(ns, func(h *netlink.Handle) error {
		l, err := h.LinkByName(link)
		if err != nil {
			return err
		}
		to, err := netlink.ParseIPNet(destination)
		if err != nil {
			return err
		}
		err = h.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: to, Gw: net.ParseIP(via)})
		if err != nil {
			return fmt.Errorf("route %s via %s: %w", destination, via, err)
		}
		return nil
	})
}

func in(ns *os.File, f func(*netlink.Handle) error) error {
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	return f(h)
}

func dress(h *netlink.Handle, name string, addresses ...string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, a := range addresses {
		p := netip.MustParsePrefix(a)
		address := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
		if p.Addr().Is6() {
			address.Flags = unix.IFA_F_NODAD
		}
		if err := h.AddrAdd(link, address); err != nil {
			return fmt.Errorf("%s: address %s: %w", name, a, err)
		}
	}
	return h.LinkSetUp(link)
}

// Serve answers with a name on a port of a namespace, TCP and UDP, on all its
// addresses, until the workstation is closed.
func (w *Workstation) Serve(ns *os.File, name string, port int) error {
	return sys.InNamespace(ns, unix.CLONE_NEWNET, func() error {
		l, err := net.ListenTCP("tcp", &net.TCPAddr{Port: port})
		if err != nil {
			return err
		}
		u, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
		if err != nil {
			l.Close()
			return err
		}
		w.back.Push("close", func() error { return errors.Join(l.Close(), u.Close()) })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					c.SetDeadline(time.Now().Add(time.Minute))
					fmt.Fprintln(c, name)
					io.Copy(c, c) // whatever is said after that comes back
				}()
			}
		}()
		// What a datagram was sent to comes with it and goes back as the source of the
		// answer (ipv6(7), IPV6_PKTINFO); the machine has many addresses.
		raw, err := u.SyscallConn()
		if err != nil {
			return err
		}
		var setErr error
		if err := raw.Control(func(fd uintptr) {
			setErr = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1)
		}); err != nil || setErr != nil {
			return errors.Join(err, setErr)
		}
		go func() {
			buffer, to := make([]byte, 2048), make([]byte, 256)
			for {
				_, n, _, from, err := u.ReadMsgUDP(buffer, to)
				if err != nil {
					return
				}
				u.WriteMsgUDP([]byte(name+"\n"), to[:n], from)
			}
		}()
		return nil
	})
}

// In runs f on a thread inside one of the namespaces.
func (w *Workstation) In(ns *os.File, f func() error) error {
	return sys.InNamespace(ns, unix.CLONE_NEWNET, f)
}

// Start starts a command in a network namespace and in the mount namespace of the
// workstation; its children follow. It must not set Pdeathsig, as the thread that
// starts it ends.
func (w *Workstation) Start(ns *os.File, c *exec.Cmd) error {
	return w.inMounts(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("setns", err)
		}
		if c.Dir == "" { // entering a mount namespace leads to its root
			dir, err := os.Getwd()
			if err != nil {
				return err
			}
			c.Dir = dir
		}
		return c.Start()
	})
}

// Show has all that is started on the workstation see one file or folder in the
// place of another. The machine sees nothing of it.
func (w *Workstation) Show(source, target string) error {
	return w.inMounts(func() error {
		if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("show %s: %w", target, err)
		}
		return nil
	})
}

func (w *Workstation) inMounts(f func() error) error {
	return sys.InNamespace(w.mounts, unix.CLONE_NEWNS, f)
}

// Run runs a command as Start does and returns all that it printed.
func (w *Workstation) Run(ns *os.File, name string, args ...string) (string, error) {
	c := exec.Command(name, args...)
	var out strings.Builder
	c.Stdout, c.Stderr = &out, &out
	if err := w.Start(ns, c); err != nil {
		return "", err
	}
	if err := c.Wait(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}
