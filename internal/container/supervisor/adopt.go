package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hutch-project/hutch/internal/container"
	"github.com/hutch-project/hutch/internal/container/control"
	"github.com/hutch-project/hutch/internal/container/runtime"
	"github.com/hutch-project/hutch/internal/container/store"
	"github.com/hutch-project/hutch/internal/sys"
)

// Adopt takes up a container whose supervisor died: its console, if the agent
// still holds it, its display, its control socket. Where it returns an error the
// container goes on as it was. Serve must follow.
func (s *Supervisor) Adopt(ctx context.Context, name string) (err error) {
	s.dir = s.layout.ContainerRuntime(name)
	run, err := s.store.Run(name)
	if err != nil {
		return err
	}
	if !run.Alive() || run.State == container.Starting {
		return fmt.Errorf("%s does not run", name)
	}
	data, err := os.ReadFile(filepath.Join(s.dir, store.OrderFile))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &s.order); err != nil {
		return fmt.Errorf("%s: %w", store.OrderFile, err)
	}
	s.run = *run
	if s.container, err = runtime.Load(filepath.Join(s.dir, "oci"), name); err != nil {
		return err
	}
	// The ways back, in the order in which Start has them.
	s.down.Push("remove "+s.dir, s.removeRuntime)
	defer func() {
		if err != nil {
			s.down.Release() // what runs goes on
		}
	}()
	if err := s.openDisplay(ctx); err != nil {
		s.log.Error("the display could not be taken up again", "error", err)
	}
	s.down.Push("remove the container's cgroups", s.container.Destroy)
	s.down.Push("end the container's processes", s.container.Kill)
	if terminal, err := s.consoleOfAgent(); err != nil {
		s.log.Info("the console is gone with the agent", "error", err)
	} else if err := s.openConsole(terminal); err != nil {
		return err
	}
	if s.order.Network != "none" {
		id := s.order.Record.ID
		s.down.Push("leave the network", func() error { return s.wings.Network.Detach(id) })
	}
	if err := s.listen(); err != nil {
		return err
	}
	if s.run.Supervisor, err = sys.Identify(os.Getpid()); err != nil {
		return err
	}
	s.run.State = container.Running
	return s.store.SaveRun(name, s.run)
}

// consoleOfAgent asks the resident agent for the console it was given to keep.
func (s *Supervisor) consoleOfAgent() (*os.File, error) {
	c, err := sys.DialUnix("unix", filepath.Join(s.dir, store.AgentSocket))
	if err != nil {
		return nil, err
	}
	conn := control.NewConn(c, control.MaxAnswer)
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return nil, err
	}
	var hello control.Hello
	files, err := conn.Read(&hello)
	sys.CloseAll(files)
	if err != nil {
		return nil, err
	}
	if err := conn.Write(control.Exec{Console: true}); err != nil {
		return nil, err
	}
	var e control.Event
	files, err = conn.Read(&e)
	if err != nil {
		return nil, err
	}
	if len(files) != 1 {
		sys.CloseAll(files)
		return nil, errors.New("the agent has no console")
	}
	if err := control.CheckPty(files[0]); err != nil {
		files[0].Close()
		return nil, err
	}
	return files[0], nil
}
