package dns

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hutch-project/hutch/internal/sys"
	"github.com/hutch-project/hutch/internal/testenv"
	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// A scene is a container, its router, and the Internet with a real dnsmasq.
type scene struct {
	box, router, internet *testenv.Netns
	log                   string // what dnsmasq was asked
	servers               atomic.Pointer[[]netip.AddrPort]
}

const zone = `
no-resolv
no-hosts
local=/#/
local-ttl=60
log-queries
keep-in-foreground
user=root
edns-packet-max=1232
host-record=good.example.com,8.8.4.4,2a00:1450::8
address=/evil.example.com/192.168.1.1
address=/evil6.example.com/fd00::1
address=/zero.example.com/0.0.0.0
host-record=nas,192.168.1.7
host-record=nas.lan,192.168.1.7
host-record=wpad.example.com,8.8.8.8
ptr-record=7.1.168.192.in-addr.arpa,nas.lan
ptr-record=8.8.8.8.in-addr.arpa,dns.example.com
cname=alias.example.com,good.example.com
`

const bigTexts = 18 // records of 202 bytes that big.example.com has

func newScene(t testing.TB) *scene {
	testenv.RequireTools(t, "dnsmasq")
	s := &scene{box: testenv.NewNetns(t), router: testenv.NewNetns(t), internet: testenv.NewNetns(t)}
	testenv.JoinNetns(t, s.router, "br0", s.box, "eth0")
	testenv.JoinNetns(t, s.router, "up0", s.internet, "down0")
	s.router.IP(t, "addr add 10.7.0.1/24 dev br0", "addr add fd07::1/64 dev br0 nodad", "addr add 23.45.60.1/24 dev up0")
	s.box.IP(t, "addr add 10.7.0.9/24 dev eth0", "addr add fd07::9/64 dev eth0 nodad", "addr add 10.7.0.66/24 dev eth0")
	s.internet.IP(t, "addr add 23.45.60.53/24 dev down0", "addr add 23.45.60.54/24 dev down0")
	s.dnsmasq(t, "23.45.60.53")
	s.ask(netip.MustParseAddrPort("23.45.60.53:53"))
	s.serve(t)
	return s
}

// dnsmasq starts the real server upstream.
func (s *scene) dnsmasq(t testing.TB, address string) {
	t.Helper()
	dir := t.TempDir()
	s.log = filepath.Join(dir, "log")
	var big strings.Builder
	for i := range bigTexts {
		fmt.Fprintf(&big, "txt-record=big.example.com,%s%02d\n", strings.Repeat("x", 200), i)
	}
	conf := zone + big.String() + "log-facility=" + s.log + "\nlisten-address=" + address + "\nbind-interfaces\npid-file=\n"
	path := filepath.Join(dir, "conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	c := s.internet.Command("dnsmasq", "--conf-file="+path)
	c.Stdout, c.Stderr = &out, &out
	c.SysProcAttr = &syscall.SysProcAttr{}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	for range 300 {
		if b, _ := os.ReadFile(s.log); bytes.Contains(b, []byte("started")) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("dnsmasq does not start: %s", out.String())
}

// ask says which servers there are upstream.
func (s *scene) ask(servers ...netip.AddrPort) { s.servers.Store(&servers) }

func (s *scene) serve(t testing.TB) {
	t.Helper()
	var sockets []Socket
	s.router.Do(t, func() error {
		for _, a := range gateway {
			socket, err := Listen(a)
			if err != nil {
				return err
			}
			sockets = append(sockets, socket)
		}
		return nil
	})
	server := New(Config{
		Domain: "hutch", Gateway: gateway, Records: records{},
		Upstreams: func() []netip.AddrPort { return *s.servers.Load() },
		Dial: func(ctx context.Context, network string, server netip.AddrPort) (conn net.Conn, err error) {
			err = sys.InNamespace(s.router.File, unix.CLONE_NEWNET, func() error {
				conn, err = new(net.Dialer).DialContext(ctx, network, server.String())
				return err
			})
			return conn, err
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- server.Serve(ctx, sockets...) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("server: %v", err)
		}
	})
}

// dig asks as a person would and returns the status and the short answer.
func (s *scene) dig(t testing.TB, args ...string) (status, answer string) {
	t.Helper()
	testenv.RequireTools(t, "dig")
	out := s.box.Run(t, "dig", append([]string{"@10.7.0.1", "-b", "10.7.0.9", "+time=8", "+tries=1", "+noall", "+comments", "+answer"}, args...)...)
	var lines []string
	for line := range strings.Lines(out) {
		if _, rest, ok := strings.Cut(line, "status: "); ok {
			status, _, _ = strings.Cut(rest, ",")
		}
		if f := strings.Fields(line); len(f) >= 5 && !strings.HasPrefix(line, ";") {
			lines = append(lines, f[0]+" "+strings.Join(f[3:], " "))
		}
	}
	return status, strings.Join(lines, "; ")
}

func TestServe(t *testing.T) {
	s := newScene(t)
	for _, c := range []struct{ ask, status, answer string }{
		{"ff A", "NOERROR", "ff. A 10.7.0.9"},
		{"ff.hutch AAAA", "NOERROR", "ff.hutch. AAAA fd07::9"},
		{"Ff.HuTcH A", "NOERROR", "Ff.HuTcH. A 10.7.0.9"},
		{"ff.hutch MX", "NOERROR", ""},
		{"gateway.hutch A", "NOERROR", "gateway.hutch. A 10.7.0.1"},
		{"_gateway AAAA", "NOERROR", "_gateway. AAAA fd07::1"},
		{"nobody.hutch A", "NXDOMAIN", ""},
		{"wpad.hutch A", "NXDOMAIN", ""},
		{"localhost A", "NOERROR", "localhost. A 127.0.0.1"},
		{"-x 10.7.0.9", "NOERROR", "9.0.7.10.in-addr.arpa. PTR ff.hutch."},
		{"-x 10.7.0.1", "NOERROR", "1.0.7.10.in-addr.arpa. PTR gateway.hutch."},
		{"-x fd07::9", "NOERROR", "9." + strings.Repeat("0.", 27) + "7.0.d.f.ip6.arpa. PTR ff.hutch."},
		{"-x 8.8.8.8", "NOERROR", "8.8.8.8.in-addr.arpa. PTR dns.example.com."},
		{"good.example.com A", "NOERROR", "good.example.com. A 8.8.4.4"},
		{"gOOd.Example.com AAAA", "NOERROR", "gOOd.Example.com. AAAA 2a00:1450::8"},
		{"GOOD.example.com A", "NOERROR", "GOOD.example.com. A 8.8.4.4"}, // from the cache
		{"+tcp good.example.com A", "NOERROR", "good.example.com. A 8.8.4.4"},
		{"+noedns good.example.com A", "NOERROR", "good.example.com. A 8.8.4.4"},
		{"alias.example.com A", "NOERROR", "alias.example.com. CNAME good.example.com.; good.example.com. A 8.8.4.4"},
		{"missing.example.com A", "NXDOMAIN", ""},
		{"evil.example.com A", "NOERROR", ""},
		{"good.example.com ANY", "NOTIMP", ""},
		{"-c CH version.bind TXT", "REFUSED", ""},
		{"+edns=1 +noednsneg good.example.com A", "BADVERS", ""},
	} {
		status, answer := s.dig(t, strings.Fields(c.ask)...)
		if status != c.status || answer != c.answer {
			t.Errorf("dig %s: %s %q, want %s %q", c.ask, status, answer, c.status, c.answer)
		}
	}
	// A stranger sees no container.
	if out := s.box.Run(t, "dig", "@10.7.0.1", "-b", "10.7.0.66", "+short", "ff.hutch"); out != "" {
		t.Errorf("a stranger was told %s", out)
	}
	if out := s.box.Run(t, "dig", "@fd07::1", "+short", "good.example.com"); out != "8.8.4.4\n" {
		t.Errorf("by IPv6: %s", out)
	}
}

// An answer too long for UDP is fetched by TCP and given by TCP.
func TestServeTruncated(t *testing.T) {
	s := newScene(t)
	_, answer := s.dig(t, "big.example.com", "TXT")
	if got := strings.Count(answer, "TXT"); got != bigTexts {
		t.Errorf("%d records, want %d", got, bigTexts)
	}
	out := s.box.Run(t, "dig", "@10.7.0.1", "+ignore", "+noall", "+comments", "big.example.com", "TXT")
	if !strings.Contains(out, " tc ") && !strings.Contains(out, " tc;") {
		t.Errorf("by UDP not marked as cut:\n%s", out)
	}
}

// What the home network alone could know is not asked there.
func TestServeForwardsNothingPrivate(t *testing.T) {
	s := newScene(t)
	for _, ask := range []string{"-x 192.168.1.7", "-x 10.7.0.77", "-x 169.254.1.1", "-x fe80::1", "-x 127.0.0.1", "nas.lan", "nas", "printer.local", "x.home.arpa", "x.internal", "wpad.example.com", "isatap.example.com", "lb._dns-sd._udp.0.1.168.192.in-addr.arpa PTR"} {
		if status, answer := s.dig(t, strings.Fields(ask)...); status != "NXDOMAIN" || answer != "" {
			t.Errorf("dig %s: %s %s", ask, status, answer)
		}
	}
	s.dig(t, "good.example.com")
	log, err := os.ReadFile(s.log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, "query[") && !strings.Contains(line, "good.example.com") {
			t.Errorf("asked upstream: %s", line)
		}
	}
	if !strings.Contains(string(log), "good.example.com") {
		t.Error("the log does not show what was asked")
	}
}

// A dead server gives way to the next; with none left the answer is a failure,
// not silence.
func TestServeDeadUpstream(t *testing.T) {
	s := newScene(t)
	live := (*s.servers.Load())[0]
	silent := netip.MustParseAddrPort("23.45.60.99:53")   // nobody has the address
	refusing := netip.MustParseAddrPort("23.45.60.54:53") // nobody listens
	s.ask(silent, refusing, live)
	if status, answer := s.dig(t, "good.example.com"); status != "NOERROR" || answer == "" {
		t.Errorf("with two dead servers: %s %s", status, answer)
	}
	s.ask(refusing)
	if status, _ := s.dig(t, "alias.example.com"); status != "SERVFAIL" {
		t.Errorf("with a refusing one: %s", status)
	}
	s.ask()
	if status, _ := s.dig(t, "alias.example.com"); status != "SERVFAIL" {
		t.Errorf("with none: %s", status)
	}
	if status, _ := s.dig(t, "ff"); status != "NOERROR" {
		t.Errorf("own name with none: %s", status)
	}
}

// Garbage, floods and idle connections end in nothing, and the server goes on.
func TestServeHostile(t *testing.T) {
	s := newScene(t)
	before := runtime.NumGoroutine()
	dial := func(network string) (conn net.Conn) {
		s.box.Do(t, func() (err error) {
			conn, err = net.Dial(network, "10.7.0.1:53")
			return err
		})
		return conn
	}
	udp := dial("udp")
	for _, p := range [][]byte{{}, {1}, make([]byte, 12), bytes.Repeat([]byte{0xff}, 1232), make([]byte, 60000)} {
		udp.Write(p)
	}
	// Of questions that wait, a client has 64; the others fail at once.
	s.ask(netip.MustParseAddrPort("23.45.60.99:53"))
	failed := 0
	buffer := make([]byte, 4096)
	for i := range 500 {
		q := new(dns.Msg)
		q.SetQuestion(fmt.Sprintf("x%d.example.com.", i), dns.TypeA)
		p, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		udp.Write(p)
		if i >= 64 { // one answer is sure: this one's, or an earlier one's
			n, err := udp.Read(buffer)
			if err != nil || n < 12 {
				t.Fatalf("question %d: %d bytes, %v", i, n, err)
			}
			if buffer[3]&15 == dns.RcodeServerFailure {
				failed++
			}
		}
	}
	if failed < 400 {
		t.Errorf("%d of 436 refused", failed)
	}
	if n := runtime.NumGoroutine() - before; n > 64*4+20 {
		t.Errorf("%d goroutines for a flood", n)
	}
	// Of connections a client has eight.
	var closed int
	for range 20 {
		c := dial("tcp")
		defer c.Close()
		c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		if _, err := c.Read(buffer); err == io.EOF || isReset(err) {
			closed++
		}
	}
	if closed != 12 {
		t.Errorf("%d of 20 connections closed, want 12", closed)
	}
	if out := s.box.Run(t, "dig", "@10.7.0.1", "-b", "10.7.0.9", "+short", "ff.hutch"); out != "10.7.0.9\n" {
		t.Errorf("afterwards: %s", out)
	}
}

func isReset(err error) bool {
	return err != nil && strings.Contains(err.Error(), "reset")
}

func TestFrames(t *testing.T) {
	var b bytes.Buffer
	if err := writeFrame(&b, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if got, err := readFrame(&b, 5); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	long := binary.BigEndian.AppendUint16(nil, 1300)
	if _, err := readFrame(bytes.NewReader(append(long, make([]byte, 1300)...)), maxQuery); err == nil {
		t.Error("a long question was read")
	}
	if err := writeFrame(&b, make([]byte, 1<<16)); err == nil {
		t.Error("a message without a length was written")
	}
}

// BenchmarkServe asks over the wire, one question at a time: a name from the
// cache, one that is forwarded, and both of the dnsmasq that stands upstream.
func BenchmarkServe(b *testing.B) {
	s := newScene(b)
	ask := func(b *testing.B, from *testenv.Netns, server string, name func(i int) string) {
		var conn net.Conn
		from.Do(b, func() (err error) {
			conn, err = net.Dial("udp", server)
			return err
		})
		defer conn.Close()
		buffer := make([]byte, 4096)
		i := 0
		for b.Loop() {
			i++
			q := new(dns.Msg)
			q.SetQuestion(name(i), dns.TypeA)
			p, err := q.Pack()
			if err != nil {
				b.Fatal(err)
			}
			if _, err := conn.Write(p); err != nil {
				b.Fatal(err)
			}
			if n, err := conn.Read(buffer); err != nil || n < 12 || buffer[3]&15 == dns.RcodeServerFailure {
				b.Fatalf("%d bytes, %v", n, err)
			}
		}
	}
	same := func(int) string { return "good.example.com." }
	fresh := func(i int) string { return fmt.Sprintf("x%d.evil.example.com.", i) }
	b.Run("cached", func(b *testing.B) { ask(b, s.box, "10.7.0.1:53", same) })
	b.Run("own", func(b *testing.B) { ask(b, s.box, "10.7.0.1:53", func(int) string { return "ff.hutch." }) })
	b.Run("forwarded", func(b *testing.B) { ask(b, s.box, "10.7.0.1:53", fresh) })
	b.Run("dnsmasq", func(b *testing.B) { ask(b, s.internet, "23.45.60.53:53", same) })
}
