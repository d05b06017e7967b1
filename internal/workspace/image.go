package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	goruntime "runtime"
	"strings"
	"time"

	"github.com/hutch-project/hutch/internal/config"
	"github.com/hutch-project/hutch/internal/container"
	"github.com/hutch-project/hutch/internal/container/attach"
	"github.com/hutch-project/hutch/internal/container/control"
	"github.com/hutch-project/hutch/internal/container/idmap"
	"github.com/hutch-project/hutch/internal/container/rootfs"
	"github.com/hutch-project/hutch/internal/image"
	"github.com/hutch-project/hutch/internal/image/bootstrap"
	"github.com/hutch-project/hutch/internal/undo"
)

// image returns the image of a reference with packages added: from the store, or
// made now.
func (w *Workspace) image(ctx context.Context, images *image.Store, reference string, install []string, settings config.Config) (image.Image, error) {
	ref, err := image.Parse(reference)
	if err != nil {
		return image.Image{}, err
	}
	if ref, err = ref.With(install...); err != nil {
		return image.Image{}, err
	}
	base, err := w.baseImage(ctx, images, ref.Base(), settings)
	if err != nil || len(ref.Packages) == 0 {
		return base, err
	}
	return w.derivedImage(ctx, images, ref, base)
}

// variant is the set of packages that every image has.
const variant = "system"

func (w *Workspace) baseImage(ctx context.Context, images *image.Store, ref image.Reference, settings config.Config) (image.Image, error) {
	source := settings.Images[ref.Distribution]
	spec := image.Spec{Reference: ref, Arch: goruntime.GOARCH, Mirror: "host", Variant: variant, Recipe: bootstrap.Recipe}
	if source.Mirror != "" {
		spec.Mirror = source.Mirror
	}
	img, found, err := images.Find(spec)
	if err != nil || found {
		return img, err
	}
	staging, img, err := images.Begin(ctx, spec, func() { w.Progress.Phase("waiting for another hutch that makes " + ref.String()) })
	if err != nil || staging == nil {
		return img, err
	}
	defer staging.Abort()
	w.Progress.Phase("making image " + ref.String())
	_, err = bootstrap.Debian(ctx, bootstrap.Options{
		Release: ref.Release, Arch: spec.Arch, Mirror: source.Mirror, Keyring: source.Keyring, Timezone: bootstrap.HostTimezone(),
		Progress: func(p bootstrap.Progress) {
			w.Progress.Phase("making image " + ref.String() + ": " + p.Phase)
			w.Progress.Items(int64(p.Percent), 100)
		},
	}, staging.Tree())
	if err != nil {
		return image.Image{}, err
	}
	return staging.Commit(ctx, nil)
}

// derivedImage makes an image with more packages, or finds it: they are installed
// in a container of its own, under a container's confinement, and what that
// container wrote becomes a layer.
func (w *Workspace) derivedImage(ctx context.Context, images *image.Store, ref image.Reference, base image.Image) (_ image.Image, err error) {
	spec := image.Spec{Reference: ref, Arch: base.Arch, Mirror: base.Digest, Variant: variant, Recipe: base.Recipe}
	img, found, err := images.Find(spec)
	if err != nil || found {
		return img, err
	}
	staging, img, err := images.Begin(ctx, spec, func() { w.Progress.Phase("waiting for another hutch that makes " + ref.String()) })
	if err != nil || staging == nil {
		return img, err
	}
	defer staging.Abort()
	w.Progress.Phase("installing " + strings.Join(ref.Packages, ", "))
	name := "build-" + randomHex(4)
	lock, err := w.Records.Lock(ctx, name)
	if err != nil {
		return image.Image{}, err
	}
	defer lock.Unlock()
	var back undo.Stack
	defer func() { err = errors.Join(err, back.Unwind()) }()
	record, err := w.create(ctx, CreateOptions{Name: name, Image: ref.Base().String(), Config: []byte(buildConfig), build: true})
	if err != nil {
		return image.Image{}, err
	}
	back.Push("remove the build container", func() error { return w.remove(context.WithoutCancel(ctx), record, true) })
	if err := w.start(ctx, record, lock); err != nil {
		return image.Image{}, err
	}
	if err := w.install(ctx, name, ref.Packages); err != nil {
		return image.Image{}, err
	}
	if err := w.stop(ctx, record, control.Stop{Timeout: 5 * time.Second}); err != nil {
		return image.Image{}, err
	}
	if err := staging.AdoptUpper(ctx, rootfs.UpperDir(w.Layout.Container(name)), unshift(record)); err != nil {
		return image.Image{}, err
	}
	return staging.Commit(ctx, &base)
}

// buildConfig is what a container is that makes an image: nothing of the person's
// in it, and no other way out than to the package servers.
const buildConfig = `ids = "private"
init = "app"
display = "none"
`

// unshift is the way from host ids to those inside of a container with the
// private layout.
func unshift(r container.Record) image.Unshift {
	one := func(id uint32) (uint32, error) {
		if id < r.IDs.Start || id-r.IDs.Start >= idmap.Size {
			return 0, fmt.Errorf("id %d is not the container's", id)
		}
		return id - r.IDs.Start, nil
	}
	return func(uid, gid uint32) (uint32, uint32, error) {
		u, err := one(uid)
		if err != nil {
			return 0, 0, err
		}
		g, err := one(gid)
		return u, g, err
	}
}

// install runs the distribution's package tool inside.
func (w *Workspace) install(ctx context.Context, name string, packages []string) error {
	for _, args := range [][]string{
		{"apt-get", "update", "-q"},
		append([]string{"apt-get", "install", "-q", "-y", "--no-install-recommends", "-o", "Dpkg::Options::=--force-unsafe-io", "--"}, packages...),
		{"apt-get", "clean"},
	} {
		out, status, err := w.inside(ctx, name, args)
		if err != nil {
			return err
		}
		if status != 0 {
			return fmt.Errorf("install %s: %s ended with %d:\n%s", strings.Join(packages, ", "), strings.Join(args[:2], " "), status, lastLines(out, 12))
		}
	}
	return nil
}

// inside runs a command as the container's root and returns what it printed.
func (w *Workspace) inside(ctx context.Context, name string, args []string) ([]byte, int, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, 0, err
	}
	defer null.Close()
	r, out, err := os.Pipe()
	if err != nil {
		return nil, 0, err
	}
	defer r.Close()
	var said bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&said, io.LimitReader(r, 16<<20))
	}()
	status, err := attach.Run(ctx, w.Layout.ContainerRuntime(name), control.Exec{
		Args: args, User: "0", Dir: "/", Env: []string{"DEBIAN_FRONTEND=noninteractive"},
	}, attach.Stdio{In: null, Out: out, Err: out})
	out.Close()
	<-read
	return said.Bytes(), status, err
}

// lastLines returns the end of a program's output.
func lastLines(out []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
