package testenv

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"

	"github.com/miekg/dns"
)

// mirrors are the package servers that the simulated Internet has, by name, with
// their addresses there. What they answer is what the machine's own package
// servers answer: connections are handed on by this process, which is in the
// machine's namespace.
var mirrors = map[string]string{
	"deb.debian.org":      "93.184.216.80",
	"security.debian.org": "93.184.216.81",
}

// Mirrors brings the package servers into the simulated Internet, and a name
// server that knows them at Resolver4, which the host uses from then on.
func (w *Workstation) Mirrors() error {
	for name, address := range mirrors {
		if err := Dress(w.Internet, "lo", address+"/32"); err != nil {
			return err
		}
		for _, port := range []string{"80", "443"} {
			if err := w.relay(net.JoinHostPort(address, port), net.JoinHostPort(name, port)); err != nil {
				return err
			}
		}
	}
	if err := w.nameServer(); err != nil {
		return err
	}
	return w.hostFile("/etc/resolv.conf", "nameserver "+Resolver4+"\n")
}

func (w *Workstation) relay(at, to string) error {
	var l net.Listener
	err := w.In(w.Internet, func() (err error) {
		l, err = net.Listen("tcp4", at)
		return err
	})
	if err != nil {
		return err
	}
	w.back.Push("close the relay to "+to, l.Close)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go relayOne(c, to)
		}
	}()
	return nil
}

func relayOne(c net.Conn, to string) {
	defer c.Close()
	up, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer up.Close()
	go func() {
		_, _ = io.Copy(up, c)
		_ = up.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(c, up)
}

func (w *Workstation) nameServer() error {
	var packets net.PacketConn
	err := w.In(w.Internet, func() (err error) {
		packets, err = net.ListenPacket("udp4", net.JoinHostPort(Resolver4, "53"))
		return err
	})
	if err != nil {
		return err
	}
	server := &dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(answerMirrors)}
	w.back.Push("end the name server", func() error {
		return errors.Join(server.Shutdown())
	})
	go func() { _ = server.ActivateAndServe() }()
	return nil
}

func answerMirrors(rw dns.ResponseWriter, q *dns.Msg) {
	a := new(dns.Msg).SetReply(q)
	a.RecursionAvailable = true
	if len(q.Question) == 1 {
		name := strings.ToLower(strings.TrimSuffix(q.Question[0].Name, "."))
		address, known := mirrors[name]
		switch {
		case !known:
			a.Rcode = dns.RcodeNameError
		case q.Question[0].Qtype == dns.TypeA:
			a.Answer = append(a.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
				A:   net.ParseIP(address).To4(),
			})
		}
	}
	_ = rw.WriteMsg(a)
}

// hostFile shows a text in place of a file, in the mount namespace of what is
// started on the workstation.
func (w *Workstation) hostFile(path, text string) error {
	f, err := os.CreateTemp("", "hutch-workstation-")
	if err != nil {
		return err
	}
	w.back.Push("remove "+f.Name(), func() error { return os.Remove(f.Name()) })
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return w.Show(f.Name(), path)
}
