package systemd

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// Runs says whether systemd manages this machine (sd_booted(3)).
func Runs() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// OwnScope moves the calling process from the session, terminal or unit that it
// was started in to a scope of its own below system.slice, where it outlives them:
// with a session or a unit systemd ends all that is in its cgroup (systemd.scope(5),
// logind.conf(5) KillUserProcesses). name is a unit's, without ".scope". Where
// systemd does not run there is nothing to do.
func OwnScope(ctx context.Context, name, description string) error {
	if !Runs() {
		return nil
	}
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("systemd: %w", err)
	}
	defer conn.Close()
	return ownScope(ctx, conn, name, description)
}

// A property of a unit (org.freedesktop.systemd1(5), StartTransientUnit).
type property struct {
	Name  string
	Value dbus.Variant
}

type auxiliary struct {
	Name       string
	Properties []property
}

func ownScope(ctx context.Context, conn *dbus.Conn, name, description string) error {
	unit := name + ".scope"
	properties := []property{
		{"PIDs", dbus.MakeVariant([]uint32{uint32(os.Getpid())})},
		{"Slice", dbus.MakeVariant("system.slice")},
		{"Description", dbus.MakeVariant(description)},
		{"CollectMode", dbus.MakeVariant("inactive-or-failed")},
	}
	manager := conn.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1")
	for begun := time.Now(); ; {
		call := manager.CallWithContext(ctx, "org.freedesktop.systemd1.Manager.StartTransientUnit", 0, unit, "fail", properties, []auxiliary{})
		exists := call.Err != nil && strings.HasSuffix(dbusName(call.Err), ".UnitExists")
		if !exists || time.Since(begun) > patience {
			if call.Err != nil {
				return fmt.Errorf("systemd: scope %s: %w", unit, call.Err)
			}
			return nil
		}
		// That of a process that has just died, which systemd has yet to notice.
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// patience is how long a dead process's scope may take to go.
const patience = 5 * time.Second

func dbusName(err error) string {
	if e, ok := err.(dbus.Error); ok {
		return e.Name
	}
	return ""
}
