package netd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/hutch-project/hutch/internal/network/api"
	"github.com/hutch-project/hutch/internal/sys"
)

const (
	maxConnections = 64               // at once; more are closed unheard
	patience       = 60 * time.Second // with a client that says nothing
)

// A Door answers the clients of an engine on a SOCK_SEQPACKET socket.
type Door struct {
	Engine *Engine
	Log    *slog.Logger
}

// Serve answers until the context ends; it closes the listener.
func (d *Door) Serve(ctx context.Context, l *net.UnixListener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	places := make(chan struct{}, maxConnections)
	for {
		c, err := l.AcceptUnix()
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil { // out of descriptors, or the client has gone already
			d.Log.Warn("accept", "error", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		select {
		case places <- struct{}{}:
			go func() {
				defer func() { <-places }()
				defer c.Close()
				stop := context.AfterFunc(ctx, func() { c.Close() })
				defer stop()
				d.talk(c)
			}()
		default:
			c.Close()
		}
	}
}

// talk answers one client until it goes, is silent too long, or can not be heard.
func (d *Door) talk(c *net.UnixConn) {
	peer, err := sys.Peer(c)
	if err != nil {
		d.Log.Warn("who is it", "error", err)
		return
	}
	buffer := make([]byte, api.MaxPacket)
	for {
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			return
		}
		n, files, err := sys.Receive(c, buffer)
		var broken net.Error
		if errors.Is(err, io.EOF) || errors.As(err, &broken) {
			return
		}
		var answer api.Answer
		if err != nil {
			answer.Error = err.Error() // too long, or too many descriptors
		} else {
			answer = d.answer(buffer[:n], files, peer.Uid)
			sys.CloseAll(files)
		}
		answer.Version = api.Version
		packet, err := json.Marshal(answer)
		if err == nil && len(packet) > api.MaxPacket {
			packet, err = json.Marshal(api.Answer{Version: api.Version, Error: "the answer is too long for one packet"})
		}
		if err != nil {
			d.Log.Error("answer", "error", err)
			return
		}
		if err := sys.Send(c, packet); err != nil {
			return
		}
	}
}

// answer does what one packet asks for. The files stay the caller's.
func (d *Door) answer(packet []byte, files []*os.File, uid uint32) api.Answer {
	r, err := parseRequest(packet, len(files))
	var a api.Answer
	if err == nil {
		switch r.Op {
		case api.OpAttach:
			a.Lease, err = d.Engine.Attach(*r.Attach, files[0], uid)
		case api.OpDetach:
			err = d.Engine.Detach(r.ID, uid)
		case api.OpForget:
			err = d.Engine.Forget(r.ID, uid)
		case api.OpRetain:
			err = d.Engine.Retain(*r.IDs, uid)
		case api.OpList:
			a.Attachments = d.Engine.List(uid)
		case api.OpStatus:
			a.Status = d.Engine.Status()
		}
	}
	if err != nil {
		a = api.Answer{Error: err.Error()}
		var no *refusal
		if errors.As(err, &no) {
			a.Remedy = no.remedy
		} else {
			d.Log.Warn("request failed", "op", r.Op, "uid", uid, "error", err)
		}
	}
	return a
}

// parseRequest reads one packet that came with so many descriptors. What it
// accepts has the parts that its operation needs, and no others.
func parseRequest(packet []byte, files int) (api.Request, error) {
	var r api.Request
	decoder := json.NewDecoder(bytes.NewReader(packet))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil {
		return api.Request{}, &refusal{"the request can not be read: " + err.Error(), ""}
	}
	if decoder.More() {
		return api.Request{}, &refusal{"the request has something after its end", ""}
	}
	if r.Version != api.Version {
		return api.Request{}, &refusal{fmt.Sprintf("the request is of version %d of the protocol, this hutchd speaks %d", r.Version, api.Version), "restart hutchd"}
	}
	wantFiles, wantAttach, wantID, wantIDs := 0, false, false, false
	switch r.Op {
	case api.OpAttach:
		wantFiles, wantAttach = 1, true
	case api.OpDetach, api.OpForget:
		wantID = true
	case api.OpRetain:
		wantIDs = true
	case api.OpList, api.OpStatus:
	default:
		return api.Request{}, &refusal{fmt.Sprintf("operation %.20q is not known", r.Op), "restart hutchd"}
	}
	if files != wantFiles || (r.Attach != nil) != wantAttach || (r.ID != "") != wantID || (r.IDs != nil) != wantIDs {
		return api.Request{}, &refusal{fmt.Sprintf("operation %s: parts of the request are missing or too many", r.Op), ""}
	}
	return r, nil
}
