package workspace

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/hutch-project/hutch/internal/atomicfile"
	"github.com/hutch-project/hutch/internal/config"
	"github.com/hutch-project/hutch/internal/container"
	"github.com/hutch-project/hutch/internal/container/idmap"
	"github.com/hutch-project/hutch/internal/container/rootfs"
	"github.com/hutch-project/hutch/internal/container/store"
	"github.com/hutch-project/hutch/internal/container/subids"
	"github.com/hutch-project/hutch/internal/image"
	"github.com/hutch-project/hutch/internal/image/account"
	"github.com/hutch-project/hutch/internal/undo"
)

// CreateOptions say what is wanted of a new container.
type CreateOptions struct {
	Name    string
	Image   string   // a reference
	Install []string // packages beside the image's
	Profile string
	// Config is the text of the container's own configuration, of package config.
	Config []byte
	// Yes allows what is else asked for: the whole home to be lent.
	Yes bool

	build bool
}

// Create makes a container. Two at once on one name: one makes it, the other
// waits and gets ErrExists.
func (w *Workspace) Create(ctx context.Context, o CreateOptions) (container.Record, error) {
	if err := container.CheckName(o.Name); err != nil {
		return container.Record{}, err
	}
	lock, err := w.Records.Lock(ctx, o.Name)
	if err != nil {
		return container.Record{}, err
	}
	defer lock.Unlock()
	return w.create(ctx, o)
}

// create does the work; the caller holds the name's lock.
func (w *Workspace) create(ctx context.Context, o CreateOptions) (_ container.Record, err error) {
	var none container.Record
	if _, err := w.Records.Load(o.Name); err == nil {
		return none, fmt.Errorf("container %s %w", o.Name, ErrExists)
	} else if !errors.Is(err, store.ErrNotExist) {
		return none, err
	}
	person, err := w.person()
	if err != nil {
		return none, err
	}
	layers, err := w.settings(o.Profile)
	if err != nil {
		return none, err
	}
	own, err := config.Parse("options", config.Container, o.Config)
	if err != nil {
		return none, err
	}
	settings := config.Resolve(append(layers, own)...)
	if _, err := w.lent(settings, person, o.Yes); err != nil {
		return none, err
	}
	if settings.Privileged {
		w.Log.Warn(fmt.Sprintf("%s is privileged: its root is the host's root, kept in by nothing but the lists of what it may not do; give it no program that you do not trust", o.Name))
	}
	w.Log.Debug("configuration read")
	images, err := w.images()
	if err != nil {
		return none, err
	}
	release, err := images.Hold(ctx) // until the record says which layers are used
	if err != nil {
		return none, err
	}
	defer release()
	img, err := w.image(ctx, images, o.Image, o.Install, settings)
	if err != nil {
		return none, err
	}
	w.Log.Debug("image found", "digest", img.Digest)
	record := container.Record{
		Schema: container.Schema, Name: o.Name, ID: randomHex(16), MachineID: randomHex(16),
		Created: time.Now().UTC(), Profile: o.Profile, Person: person, Build: o.build,
		Image: container.Image{Reference: img.Reference, Digest: img.Digest, Layers: img.Layers, Arch: img.Arch},
	}
	record, err = w.place(ctx, record, images, settings, o.Config)
	if err != nil {
		return none, err
	}
	w.Log.Debug("record saved")
	return record, nil
}

// place gives the container its ids and its files and commits it. Only one
// container at a time chooses its ids.
func (w *Workspace) place(ctx context.Context, r container.Record, images *image.Store, settings config.Config, own []byte) (_ container.Record, err error) {
	lock, err := w.Records.Lock(ctx, ".ids")
	if err != nil {
		return r, err
	}
	defer lock.Unlock()
	var back undo.Stack
	defer back.UnwindOn(&err)
	if r.IDs, err = w.allocate(r.Person); err != nil {
		return r, err
	}
	maps, err := idmap.Build(ids(settings, r.Person), r.Person.UID, r.Person.GID, idmap.Range{Start: r.IDs.Start, Count: r.IDs.Count})
	if err != nil {
		return r, err
	}
	layers, err := images.LayerPaths(r.Image.Layers)
	if err != nil {
		return r, err
	}
	if err := w.home(&r, layers); err != nil {
		return r, err
	}
	files, err := w.files(r, layers, owners(maps, settings.Privileged))
	if err != nil {
		return r, err
	}
	draft, err := w.Records.Draft()
	if err != nil {
		return r, err
	}
	back.Push("remove "+draft.Dir, draft.Discard)
	if err := rootfs.CreateUpper(draft.Dir, owners(maps, settings.Privileged)(0, 0), files); err != nil {
		return r, err
	}
	if len(own) > 0 {
		if err := atomicfile.Write(filepath.Join(draft.Dir, "config.toml"), own, 0o600); err != nil {
			return r, err
		}
	}
	if err := draft.Commit(r); err != nil {
		return r, err
	}
	back.Release()
	return r, nil
}

// allocate chooses a range of ids that no other container and no user has.
func (w *Workspace) allocate(p container.Person) (container.IDRange, error) {
	taken, err := w.takenIDs()
	if err != nil {
		return container.IDRange{}, err
	}
	count := idmap.Count(p.UID, p.GID)
	added, err := subids.Ensure(w.Layout, taken, count)
	if err != nil {
		return container.IDRange{}, err
	}
	if added != "" {
		w.Log.Info("root was given ids for containers", "line", added)
	}
	uids, gids, err := w.delegations()
	if err != nil {
		return container.IDRange{}, err
	}
	r, err := idmap.Allocate(idmap.Offered(uids, gids, "root", 0), taken, count)
	return container.IDRange{Start: r.Start, Count: r.Count}, err
}

func (w *Workspace) delegations() (uids, gids []idmap.Delegation, err error) {
	for file, into := range map[string]*[]idmap.Delegation{w.Layout.SubUID: &uids, w.Layout.SubGID: &gids} {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, nil, err
		}
		if *into, _, err = idmap.Parse(data); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return uids, gids, nil
}

// takenIDs are the ids of other containers, and of the machine's own users and
// groups.
func (w *Workspace) takenIDs() ([]idmap.Range, error) {
	records, err := w.Records.List()
	if err != nil {
		return nil, err // whose ids we can not see, we must not give away
	}
	var taken []idmap.Range
	for _, r := range records {
		taken = append(taken, idmap.Range{Start: r.IDs.Start, Count: r.IDs.Count})
	}
	accounts, err := accountIDs()
	return append(taken, accounts...), err
}

// accountIDs are the ids of the machine's own users and groups.
func accountIDs() (ids []idmap.Range, err error) {
	for _, file := range []string{"/etc/passwd", "/etc/group"} {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		ids = append(ids, idmap.Accounts(data)...)
	}
	return ids, nil
}

// An ownerOf gives the host ids of a user inside.
type ownerOf func(uid, gid uint32) rootfs.Owner

func owners(m idmap.Maps, privileged bool) ownerOf {
	return func(uid, gid uint32) rootfs.Owner {
		if privileged {
			return rootfs.Owner{UID: uid, GID: gid}
		}
		// All ids that hutch writes are in every layout.
		u, _ := m.UIDs.ToHost(uid)
		g, _ := m.GIDs.ToHost(gid)
		return rootfs.Owner{UID: u, GID: g}
	}
}

// home makes the person's home and shell what they are inside: never the host's
// root folder, and a shell that the image has.
func (w *Workspace) home(r *container.Record, layers []string) error {
	p := &r.Person
	p.Shell = account.Shell(p.Shell, func(shell string) bool { return image.HasFile(layers, shell) })
	p.Home = path.Clean(p.Home)
	if p.UID != 0 && (p.Home == "/" || !path.IsAbs(p.Home)) {
		p.Home = "/home/" + p.Name
	}
	return account.Check(account.Person(*p))
}

// files are what a new container has over its image: its names, its user.
func (w *Workspace) files(r container.Record, layers []string, own ownerOf) ([]rootfs.File, error) {
	read := func(name string) ([]byte, error) {
		data, err := image.ReadFile(layers, name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return data, err
	}
	var old account.Files
	for name, into := range map[string]*[]byte{"etc/passwd": &old.Passwd, "etc/group": &old.Group, "etc/shadow": &old.Shadow, "etc/gshadow": &old.Gshadow} {
		data, err := read(name)
		if err != nil {
			return nil, err
		}
		*into = data
	}
	p := account.Person(r.Person)
	accounts, err := account.Add(old, p, account.Groups)
	if err != nil {
		return nil, err
	}
	shadow := uint32(0) // the group that may read the passwords' file
	if u, err := account.Find(accounts, "0:shadow"); err == nil {
		shadow = u.GID
	}
	root := own(0, 0)
	files := []rootfs.File{
		{Path: "etc", Dir: true, Mode: 0o755, Owner: root},
		{Path: "etc/hostname", Data: []byte(r.Name + "\n"), Mode: 0o644, Owner: root},
		{Path: "etc/machine-id", Data: []byte(r.MachineID + "\n"), Mode: 0o444, Owner: root},
	}
	if r.Build { // nothing of a person gets into an image
		return files, nil
	}
	files = append(files, []rootfs.File{
		{Path: "etc/passwd", Data: accounts.Passwd, Mode: 0o644, Owner: root},
		{Path: "etc/group", Data: accounts.Group, Mode: 0o644, Owner: root},
	}...)
	if accounts.Shadow != nil {
		files = append(files, rootfs.File{Path: "etc/shadow", Data: accounts.Shadow, Mode: 0o640, Owner: own(0, shadow)})
	}
	if accounts.Gshadow != nil {
		files = append(files, rootfs.File{Path: "etc/gshadow", Data: accounts.Gshadow, Mode: 0o640, Owner: own(0, shadow)})
	}
	if p.UID == 0 {
		return files, nil
	}
	if image.HasFile(layers, "/usr/bin/sudo") {
		files = append(files,
			rootfs.File{Path: "etc/sudoers.d", Dir: true, Mode: 0o755, Owner: root},
			rootfs.File{Path: "etc/sudoers.d/hutch", Data: account.Sudoers(p), Mode: 0o440, Owner: root})
	}
	return append(files, homeFiles(p, own, read)...), nil
}

// skeleton are the files of /etc/skel that a login shell reads (adduser(8)).
var skeleton = []string{".bashrc", ".profile", ".bash_logout"}

func homeFiles(p account.Person, own ownerOf, read func(string) ([]byte, error)) []rootfs.File {
	var files []rootfs.File
	root, person := own(0, 0), own(p.UID, p.GID)
	relative := strings.TrimPrefix(p.Home, "/")
	parts := strings.Split(relative, "/")
	for i := range parts[:len(parts)-1] {
		files = append(files, rootfs.File{Path: strings.Join(parts[:i+1], "/"), Dir: true, Mode: 0o755, Owner: root})
	}
	files = append(files, rootfs.File{Path: relative, Dir: true, Mode: 0o700, Owner: person})
	for _, name := range skeleton {
		if data, err := read("etc/skel/" + name); err == nil && data != nil {
			files = append(files, rootfs.File{Path: relative + "/" + name, Data: data, Mode: 0o644, Owner: person})
		}
	}
	return files
}

// randomHex returns n random bytes in hexadecimal digits.
func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}
