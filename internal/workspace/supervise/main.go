package supervise

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/container/order"
	"github.com/hutch-project/hutch/internal/container/supervisor"
	"github.com/hutch-project/hutch/internal/paths"
	"github.com/hutch-project/hutch/internal/systemd"
)

// Descriptors that the command line hands over.
const (
	reportFD = 3 // a socket: the order comes, the report goes
	lockFD   = 4 // the container's lock, to be held until the report
)

// maxOrder bounds an order, in bytes.
const maxOrder = 16 << 20

// Start carries out the order that comes on descriptor 3, reports there, and
// serves the container to its end.
func Start(l paths.Layout, agent string, log *slog.Logger) error {
	return handOver(log, func(data []byte) (*supervisor.Supervisor, error) {
		var o order.Order
		if err := json.Unmarshal(data, &o); err != nil {
			return nil, fmt.Errorf("the order: %w", err)
		}
		s, err := supervisor.New(l, wings(l, log), agent, log)
		if err != nil {
			return nil, err
		}
		ownScope(l, o.Record.Name, log)
		return s, s.Start(context.Background(), o)
	})
}

// Adopt takes up a container whose supervisor died.
func Adopt(l paths.Layout, agent, name string, log *slog.Logger) error {
	return handOver(log, func([]byte) (*supervisor.Supervisor, error) {
		s, err := supervisor.New(l, wings(l, log), agent, log)
		if err != nil {
			return nil, err
		}
		ownScope(l, name, log)
		return s, s.Adopt(context.Background(), name)
	})
}

// ownScope lets the supervisor outlive the session or unit that it was started in.
// Nobody waits for it: until then it lives as well where it is.
func ownScope(l paths.Layout, name string, log *slog.Logger) {
	go func() {
		err := systemd.OwnScope(context.Background(), l.Cgroup+"-supervisor-"+name, "hutch's supervisor of container "+name)
		if err != nil {
			log.Warn("the supervisor ends with the session that it was started in", "error", err)
		}
	}()
}

func handOver(log *slog.Logger, begin func(order []byte) (*supervisor.Supervisor, error)) error {
	// No child of ours may keep them open when we are gone.
	for _, fd := range []int{reportFD, lockFD} {
		unix.CloseOnExec(fd)
	}
	socket := os.NewFile(reportFD, "report")
	lock := os.NewFile(lockFD, "lock")
	data, err := io.ReadAll(io.LimitReader(socket, maxOrder))
	if err != nil {
		return err
	}
	s, err := begin(data)
	var report order.Report
	if err != nil {
		log.Error("start", "error", err)
		report.Error = err.Error()
	}
	answer, marshalErr := json.Marshal(report)
	if marshalErr != nil {
		return marshalErr
	}
	// Whoever asked may be gone; the container runs all the same.
	if _, err := socket.Write(answer); err != nil {
		log.Info("nobody waits for the report", "error", err)
	}
	socket.Close()
	lock.Close()
	if err != nil {
		return err
	}
	return s.Serve()
}

func wings(l paths.Layout, log *slog.Logger) supervisor.Wings {
	return supervisor.Wings{
		Network:     network{l.NetdSocket()},
		OpenDisplay: func(dir string, o order.Order) (supervisor.Screen, error) { return openScreen(dir, o, log) },
	}
}

// AgentProgram is where hutch-agent lies: beside the given program.
func AgentProgram(self string) string { return filepath.Join(filepath.Dir(self), "hutch-agent") }
