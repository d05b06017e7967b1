package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// impostor takes the listener from the agent, ends it, and answers in its place, in the
// manner that the given file names at that time.
func impostor(args []string) {
	pid := find("serve")
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		tell("pidfd_open", err)
		return
	}
	var listener *os.File
	for fd := range 64 {
		got, err := unix.PidfdGetfd(pidfd, fd, 0)
		if err != nil {
			continue
		}
		if is, err := unix.GetsockoptInt(got, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil && is == 1 {
			listener = os.NewFile(uintptr(got), "listener")
			break
		}
		unix.Close(got)
	}
	if listener == nil {
		fmt.Println("listener none")
		return
	}
	unix.Kill(pid, unix.SIGKILL)
	l, err := net.FileListener(listener)
	if err != nil {
		tell("listen", err)
		return
	}
	fmt.Println("listener ok")
	os.Stdout.Close()
	for {
		c, err := l.(*net.UnixListener).AcceptUnix()
		if err != nil {
			return
		}
		manner, _ := os.ReadFile(args[0])
		f, _ := os.OpenFile(args[0]+".met", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
		fmt.Fprintln(f, strings.TrimSpace(string(manner)))
		f.Close()
		go misbehave(c, strings.TrimSpace(string(manner)))
	}
}

func frame(body string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

var hello = frame(`{"protocol":1}`)

func rights(path string, flags, count int) []byte {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	fds := make([]int, count)
	for i := range fds {
		fds[i] = fd
	}
	return unix.UnixRights(fds...)
}

func misbehave(c *net.UnixConn, manner string) {
	await := func() { // the request
		b := make([]byte, 1<<16)
		c.SetReadDeadline(time.Now().Add(20 * time.Second))
		c.Read(b)
	}
	endless := func(b []byte) {
		for {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	}
	switch manner {
	case "silent":
	case "garbage":
		b := make([]byte, 4096)
		f, _ := os.Open("/dev/urandom")
		f.Read(b)
		c.Write(b)
	case "closes":
		c.Close()
	case "oversized":
		c.Write([]byte{0xff, 0xff, 0xff, 0xff})
		endless(make([]byte, 1<<16))
	case "many":
		c.WriteMsgUnix(hello, rights("/dev/null", unix.O_RDWR, 200), nil)
	case "drip":
		c.Write([]byte{0, 0, 0xff, 0xff})
		for {
			if _, err := c.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	case "hello, silent":
		c.Write(hello)
	case "hello, endless":
		c.Write(hello)
		await()
		c.Write([]byte{0, 0, 0xff, 0xff})
		endless(make([]byte, 1<<12))
	case "hello, deep":
		c.Write(hello)
		await()
		c.Write(frame(strings.Repeat("[", 60000)))
	case "hello, folder":
		c.Write(hello)
		await()
		c.WriteMsgUnix(frame(`{"started":true}`), rights("/", unix.O_RDONLY|unix.O_DIRECTORY, 1), nil)
	case "hello, file":
		c.Write(hello)
		await()
		c.WriteMsgUnix(frame(`{"started":true}`), rights("/etc/passwd", unix.O_RDONLY, 1), nil)
	case "hello, null":
		c.Write(hello)
		await()
		c.WriteMsgUnix(frame(`{"started":true}`), rights("/dev/null", unix.O_RDWR, 1), nil)
	case "hello, many":
		c.Write(hello)
		await()
		c.WriteMsgUnix(frame(`{"started":true}`), rights("/dev/null", unix.O_RDWR, 200), nil)
	case "hello, escapes":
		c.Write(hello)
		await()
		c.Write(frame(`{"failed":{"status":0,"message":"\u001b]0;owned\u0007\u001b[2J\r\u009b31m\u202e"}}`))
	case "hello, status":
		c.Write(hello)
		await()
		c.Write(frame(`{"exited":{"code":-123456789,"signal":-7}}`))
	}
	time.Sleep(20 * time.Second)
	c.Close()
}
