package workspace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hutch-project/hutch/internal/network/api"
)

// ensureNetd starts hutchd where nobody answers on its socket. Of several who
// find it missing, one starts it.
func (w *Workspace) ensureNetd(ctx context.Context) error {
	if w.netdAnswers() == nil {
		return nil
	}
	lock, err := w.Records.Lock(ctx, ".hutchd")
	if err != nil {
		return err
	}
	defer lock.Unlock()
	err = w.netdAnswers()
	if err == nil || !errors.Is(err, api.ErrNotRunning) {
		return err
	}
	if err := os.MkdirAll(w.Layout.Runtime, 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(w.Layout.Runtime, "hutchd.log"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	c := exec.Command(filepath.Join(w.programs, netdProgram))
	c.Dir = "/"
	c.Env = w.childEnv()
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		return fmt.Errorf("start hutchd: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		if w.netdAnswers() == nil {
			return w.retainAddresses()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-ended:
			said, _ := os.ReadFile(log.Name())
			return fmt.Errorf("hutchd ended (%v): %s\ngo on without a network by network = \"none\"", err, lastLines(said, 3))
		case <-time.After(wait):
		}
	}
}

// retainAddresses tells hutchd, if it is there, which containers there are: it may
// not have been when one was removed.
func (w *Workspace) retainAddresses() error {
	return w.netd(func(c *api.Client) error {
		records, err := w.Records.List()
		if err != nil {
			w.Log.Warn("a record can not be read: no addresses are freed", "error", err)
			return nil
		}
		var ids []string
		for _, r := range records {
			ids = append(ids, r.ID)
		}
		return c.Retain(ids)
	})
}

func (w *Workspace) netdAnswers() error {
	c, err := api.Dial(w.Layout.NetdSocket())
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Status()
	return err
}
