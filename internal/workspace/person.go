package workspace

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"github.com/hutch-project/hutch/internal/container"
	"github.com/hutch-project/hutch/internal/image/account"
)

// person is the user on whose behalf root runs: the one who called sudo, else
// root.
func (w *Workspace) person() (container.Person, error) {
	uid := "0"
	if caller := w.getenv("SUDO_UID"); caller != "" {
		uid = caller
	}
	if _, err := strconv.ParseUint(uid, 10, 32); err != nil {
		return container.Person{}, fmt.Errorf("SUDO_UID=%q is no user id", uid)
	}
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return container.Person{}, err
	}
	u, err := account.Find(account.Files{Passwd: passwd}, uid)
	if err == nil && u.Name == "" {
		// Of a directory service, which /etc/passwd does not list.
		line, lookErr := exec.Command("getent", "passwd", uid).Output()
		if lookErr != nil {
			return container.Person{}, fmt.Errorf("who runs hutch: no user has the id %s (SUDO_UID)", uid)
		}
		u, err = account.Find(account.Files{Passwd: line}, uid)
	}
	if err != nil {
		return container.Person{}, fmt.Errorf("who runs hutch: %w", err)
	}
	return container.Person{Name: u.Name, UID: u.UID, GID: u.GID, Home: u.Home, Shell: u.Shell}, nil
}
