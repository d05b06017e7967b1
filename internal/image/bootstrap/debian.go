package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/image/unpack"
	"github.com/hutch-project/hutch/internal/sys"
)

// DefaultKeyring is the file of Debian's package debian-archive-keyring.
const DefaultKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// idCount is how many ids a Debian system uses: 0 to 65534, nobody and nogroup
// the last.
const idCount = 65536

// DefaultFirstID begins the host's ids that packages are unpacked under. No
// range of anyone's is there: systemd leaves 1879048192 and what follows unused
// (https://systemd.io/UIDS-GIDS), and subuid(5) ranges begin far below.
const DefaultFirstID = 0x7000_0000

// basePackages make a Debian of priority "required" with apt one that a person
// can work in and that boots; each is here for a reason.
var basePackages = []string{
	"ca-certificates", // https
	"dbus",            // systemctl, and most desktop programs
	"iproute2",        // ip
	"iputils-ping",    // ping
	"less",            // pagers, man
	"netbase",         // /etc/services, /etc/protocols
	"passwd",          // usermod and friends for packages' scripts
	"procps",          // ps, top, kill
	"sudo",            // the person's way to root inside
	"systemd",
	"systemd-sysv", // /sbin/init
	"tzdata",
}

// Options say which root filesystem is wanted.
type Options struct {
	Release  string         // bookworm, trixie, …: a codename, never "stable"
	Arch     string         // as Debian calls it: amd64, arm64, …; empty is the host's
	Mirror   string         // http or https address; empty is the host's or Debian's own
	Keyring  string         // empty is DefaultKeyring
	Packages []string       // beside those of every image
	Timezone string         // as in zoneinfo(5); empty leaves Debian's UTC
	FirstID  uint32         // first of 65536 ids of the host that nobody else uses; 0 is DefaultFirstID
	Progress func(Progress) // called from one goroutine at a time; may be nil
}

// A Built says what a root filesystem was made from.
type Built struct {
	Archive Archive // where the packages came from
	Tree    unpack.Result
}

// Debian makes the root filesystem of a Debian release in the existing, empty
// folder dest, owners unshifted. It needs root, and about a gigabyte beside dest
// while it works; a folder named dest + ".work" is there in the meantime. When it
// fails, or ctx ends, dest may hold a part of a tree: the caller removes it.
// Errors that have a remedy are of type *Error.
//
// mmdebstrap runs as the root user of a user namespace that exists for this one
// call, with mount, process, IPC and host names of its own. Its "unshare" mode
// would do nearly that, but wants a line for root in /etc/subuid and the program
// newuidmap, and leaves mounts and processes to be found after a kill; "root"
// mode on the host would run every package's scripts as the machine's root. Here
// nothing that a package does is done with any right on the host, and when the
// first process of the namespaces dies everything in them goes.
func Debian(ctx context.Context, o Options, dest string) (Built, error) {
	host := readHost()
	if o.Keyring == "" {
		o.Keyring = DefaultKeyring
	}
	if o.FirstID == 0 {
		o.FirstID = DefaultFirstID
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	built, err := debian(ctx, o, host, dest)
	if err == nil {
		return built, nil
	}
	if ctx.Err() != nil {
		return Built{}, fmt.Errorf("make debian/%s: %w", o.Release, context.Cause(ctx))
	}
	return Built{}, fmt.Errorf("make debian/%s: %w", o.Release, err)
}

func debian(ctx context.Context, o Options, host hostFacts, dest string) (Built, error) {
	if err := o.check(); err != nil {
		return Built{}, err
	}
	program, err := exec.LookPath("mmdebstrap")
	if err != nil {
		return Built{}, &Error{Kind: NoProgram, Detail: "the program mmdebstrap is not installed"}
	}
	keys, err := os.ReadFile(o.Keyring)
	if err != nil {
		return Built{}, &Error{Kind: NoKeyring, Detail: fmt.Sprintf("the keyring %q can not be read: %v", o.Keyring, errors.Unwrap(err))}
	}
	archive := ChooseArchive(o.Mirror, host.id, host.codename, host.sources, o.Release)
	built := Built{Archive: archive}

	work := dest + ".work"
	if err := os.RemoveAll(work); err != nil {
		return Built{}, err
	}
	if err := os.Mkdir(work, 0o700); err != nil {
		return Built{}, err
	}
	defer os.RemoveAll(work)
	if err := os.Lchown(work, int(o.FirstID), int(o.FirstID)); err != nil {
		return Built{}, err
	}
	// Keyring and credentials are copied to where mmdebstrap can read them; they
	// lie outside of the tree that packages see.
	lend := func(name string, data []byte) (inside string, err error) {
		path := filepath.Join(work, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return "", err
		}
		return filepath.Join(workInside, name), os.Lchown(path, int(o.FirstID), int(o.FirstID))
	}
	name := "keyring.gpg"
	if filepath.Ext(o.Keyring) == ".asc" { // apt tells armoured keys by their name
		name = "keyring.asc"
	}
	if o.Keyring, err = lend(name, keys); err != nil {
		return Built{}, err
	}
	aptOptions := host.apt
	if len(host.auth) > 0 {
		auth, err := lend("auth.conf", host.auth)
		if err != nil {
			return Built{}, err
		}
		aptOptions = append(aptOptions, `Dir::Etc::netrc "`+auth+`"`)
	}

	run := &run{
		program:  program,
		args:     arguments(o, archive, aptOptions),
		env:      host.env,
		work:     work,
		firstID:  o.FirstID,
		progress: o.Progress,
	}
	built.Tree, err = run.into(ctx, dest)
	if err != nil {
		return Built{}, err
	}
	root, err := os.OpenRoot(dest)
	if err != nil {
		return Built{}, err
	}
	defer root.Close()
	zone := o.Timezone
	if _, err := root.Lstat(filepath.Join("usr/share/zoneinfo", zone)); err != nil {
		zone = ""
	}
	if err := apply(root, dressing(archive.Inside().Lines(o.Release), zone)); err != nil {
		return Built{}, err
	}
	o.Progress(Progress{Phase: "done", Percent: 100})
	return built, nil
}

// workInside is where the working folder appears to mmdebstrap.
const workInside = "/tmp"

// check refuses what would be taken for an option or a second line; the values
// come from the command line and the configuration.
func (o Options) check() error {
	if !isWord(o.Release) {
		return fmt.Errorf("release %.40q is not a name", o.Release)
	}
	if o.Arch != "" && !isWord(o.Arch) {
		return fmt.Errorf("architecture %.40q is not a name", o.Arch)
	}
	for _, p := range o.Packages {
		if !isWord(p) {
			return fmt.Errorf("package %.80q is not a name", p)
		}
	}
	if o.Mirror != "" {
		if _, ok := usableMirror(o.Mirror); !ok {
			return fmt.Errorf("mirror %.200q is not an http or https address", o.Mirror)
		}
	}
	if !filepath.IsAbs(o.Keyring) {
		return fmt.Errorf("keyring %q: must be an absolute path", o.Keyring)
	}
	return nil
}

// isWord knows the names of packages, releases and architectures (Debian policy,
// section 5.6.1).
func isWord(s string) bool {
	return s != "" && len(s) <= 128 && strings.IndexByte("-.+", s[0]) < 0 && strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("-.+", r))
	}) < 0
}

// arguments returns mmdebstrap's (mmdebstrap(1)).
func arguments(o Options, archive Archive, aptOptions []string) []string {
	args := []string{
		"--mode=root",   // in the namespace; see Debian
		"--variant=apt", // packages of priority "required" and apt
		"--format=tar",
		"--include=" + strings.Join(append(append([]string{}, basePackages...), o.Packages...), ","),
		"--skip=check/signed-by,chroot/mount/sys", // the image's list is written later; a namespace without a network of its own may not mount sysfs
		`--aptopt=Acquire::Languages "none"`,
	}
	if o.Arch != "" {
		args = append(args, "--architectures="+o.Arch)
	}
	for _, option := range aptOptions {
		args = append(args, "--aptopt="+option)
	}
	args = append(args, o.Release, "-")
	for _, line := range archive.Lines(o.Release) {
		// --keyring alone would let the host's other keys sign, too.
		args = append(args, "deb [signed-by="+o.Keyring+"]"+strings.TrimPrefix(line, "deb"))
	}
	return args
}

// A run is one call of mmdebstrap.
type run struct {
	program  string
	args     []string
	env      []string
	work     string // mounted on workInside for it
	firstID  uint32
	progress func(Progress)
}

// starter waits until the working folder is mounted, then becomes the program
// that is named by its arguments.
const starter = `read -r go <&3 || exit 125; exec 3<&-; exec "$@"`

// into runs mmdebstrap and unpacks what it writes into dest.
func (r *run) into(ctx context.Context, dest string) (unpack.Result, error) {
	terminal, seen, err := openTerminal()
	if err != nil {
		return unpack.Result{}, err
	}
	defer terminal.Close()
	archive, archiveIn, err := os.Pipe()
	if err != nil {
		seen.Close()
		return unpack.Result{}, err
	}
	defer archive.Close()
	wait, release, err := os.Pipe()
	if err != nil {
		seen.Close()
		archiveIn.Close()
		return unpack.Result{}, err
	}
	defer release.Close()

	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(r.firstID), Size: idCount}}
	cmd := exec.Command("/bin/sh", append([]string{"-c", starter, "sh", r.program}, r.args...)...)
	cmd.Dir = "/"
	cmd.Env = append([]string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/nonexistent", "LC_ALL=C.UTF-8",
		"TERM=dumb", "TMPDIR=" + workInside,
	}, r.env...)
	cmd.Stdout, cmd.Stderr = archiveIn, seen
	cmd.ExtraFiles = []*os.File{wait}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		// setgroups(2) is needed by apt and by packages' scripts.
		UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
		Credential: &syscall.Credential{},
		Setsid:     true,            // a Ctrl-C at the terminal is for hutch, which ends this in order
		Pdeathsig:  syscall.SIGKILL, // and the kill -9 of hutch ends it, too
	}
	// The signal of Pdeathsig comes at the death of the thread that started the
	// process (prctl(2)): this one has to stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	seen.Close()
	archiveIn.Close()
	wait.Close()
	if err != nil {
		return unpack.Result{}, namespaceError(err)
	}
	// The first process of the namespace takes all others along when it dies.
	var once sync.Once
	kill := func() { once.Do(func() { cmd.Process.Kill() }) }
	stop := context.AfterFunc(ctx, kill)
	defer stop()

	told := make(chan []string, 1)
	go func() { told <- watch(terminal, r.progress) }()

	err = mountFor(cmd.Process.Pid, r.work)
	var tree unpack.Result
	if err == nil {
		if _, err = release.WriteString("go\n"); err == nil {
			tree, err = unpack.Tar(ctx, archive, dest, unpack.Limits{})
		}
	}
	if err != nil {
		// The pipe is closed by the kill's end; what failed here comes first,
		// unless the stream broke off because mmdebstrap gave up.
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			kill()
		}
	} else if _, drain := io.Copy(io.Discard, archive); drain != nil { // tar pads its stream
		err = drain
	}
	exit := cmd.Wait()
	output := <-told
	if ctx.Err() != nil {
		return tree, ctx.Err()
	}
	if full := diskFull(err); full != nil {
		return tree, full
	}
	if exit != nil && (err == nil || errors.Is(err, io.ErrUnexpectedEOF)) {
		return tree, classify(output, exit)
	}
	return tree, err
}

// mountFor mounts the working folder over /tmp in the mount namespace of a
// process that hutch started: its path on the host may lead through folders that
// the process may not enter, and the host's own /tmp is nothing for it.
func mountFor(pid int, work string) error {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		return err
	}
	defer ns.Close()
	mount, err := sys.CloneMount(work, false)
	if err != nil {
		return err
	}
	defer mount.Close()
	// Or what mmdebstrap mounts below it would appear on the host, and stay.
	if err := sys.MakePrivate(mount); err != nil {
		return err
	}
	return sys.InNamespace(ns, unix.CLONE_NEWNS, func() error {
		target, err := sys.OpenRoot(workInside)
		if err != nil {
			return err
		}
		defer target.Close()
		return sys.MoveMount(mount, target)
	})
}
