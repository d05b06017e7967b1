package house

// Paths of packages of this module are relative to it; a path stands for all
// that is below it too.
const module = "github.com/hutch-project/hutch/"

// An importRule keeps the packages of from (but not of except) from importing
// those of deny (but not of allow). It is about programs, not about tests.
type importRule struct {
	name   string
	from   []string
	except []string
	deny   []string
	allow  []string
	why    string
}

// ground is the floor that everything stands on.
var ground = []string{
	"internal/atomicfile", "internal/config", "internal/paths", "internal/sys", "internal/systemd", "internal/ui", "internal/undo", "internal/version",
}

var importRules = []importRule{
	{
		name: "ground-floor", from: ground,
		deny: []string{"internal/container", "internal/image", "internal/network", "internal/desktop", "internal/workspace", "internal/cli", "cmd"},
		why:  "imports run downwards; the ground floor holds one idea per package and knows nothing of containers",
	},
	{
		name: "wing-container", from: []string{"internal/container"},
		deny: []string{"internal/image", "internal/network", "internal/desktop", "internal/workspace", "internal/cli", "cmd"},
		why:  "a wing never imports another wing: declare the small interface that is needed, and let workspace or cmd fill it",
	},
	{
		name: "wing-image", from: []string{"internal/image"},
		deny: []string{"internal/container", "internal/network", "internal/desktop", "internal/workspace", "internal/cli", "cmd"},
		why:  "a wing never imports another wing: declare the small interface that is needed, and let workspace or cmd fill it",
	},
	{
		name: "wing-network", from: []string{"internal/network"},
		deny: []string{"internal/container", "internal/image", "internal/desktop", "internal/workspace", "internal/cli", "cmd"},
		why:  "a wing never imports another wing: declare the small interface that is needed, and let workspace or cmd fill it",
	},
	{
		name: "wing-desktop", from: []string{"internal/desktop"},
		deny: []string{"internal/container", "internal/image", "internal/network", "internal/workspace", "internal/cli", "cmd"},
		why:  "a wing never imports another wing: declare the small interface that is needed, and let workspace or cmd fill it",
	},
	{
		name: "network-api", from: []string{"internal/network/api"},
		deny: []string{"internal/network"}, allow: []string{"internal/network/api"},
		why: "the client of hutchd is linked into hutch and the supervisor and must not bring hutchd along",
	},
	{
		name: "workspace", from: []string{"internal/workspace"},
		deny: []string{"internal/network", "internal/cli", "cmd"}, allow: []string{"internal/network/api"},
		why: "use cases know neither options nor output, and speak with hutchd over its socket only",
	},
	{
		name: "cli", from: []string{"internal/cli", "cmd/hutch", "cmd/hutch-supervisor", "cmd/hutch-agent"},
		deny: []string{"internal/network"}, allow: []string{"internal/network/api"},
		why: "the network is hutchd's; everybody else asks over its socket",
	},
	{
		name: "testenv", from: []string{"internal", "cmd", "test"}, except: []string{"internal/testenv", "test"},
		deny: []string{"internal/testenv"},
		why:  "what serves tests is not linked into programs",
	},
	{
		name: "library-runtime", from: []string{"internal", "cmd"}, except: []string{"internal/container", "cmd/hutch-supervisor"},
		deny: []string{"github.com/opencontainers/runc", "github.com/opencontainers/cgroups", "github.com/seccomp/libseccomp-golang"},
		why:  "the container runtime has one adapter, so that another runtime can take its place",
	},
	{
		name: "library-network", from: []string{"internal", "cmd"}, except: []string{"internal/network", "internal/testenv"},
		deny: []string{"github.com/google/nftables", "github.com/insomniacslk/dhcp", "github.com/miekg/dns"},
		why:  "firewall, DHCP and DNS run as root in hutchd's router namespace and nowhere else",
	},
	{
		name: "library-cli", from: []string{"internal", "cmd"}, except: []string{"internal/cli", "cmd/hutch"},
		deny: []string{"github.com/spf13/cobra"},
		why:  "options are parsed in one place",
	},
}

// A linkRule keeps packages out of a program, however they would come in.
type linkRule struct {
	program string
	deny    []string
	why     string
}

var linkRules = []linkRule{
	{
		program: "cmd/hutch",
		deny:    []string{"github.com/opencontainers/runc/libcontainer", "github.com/google/nftables", "github.com/insomniacslk/dhcp", "github.com/miekg/dns"},
		why:     "the command of every day starts in milliseconds, and its parsers are few (ADR 0001)",
	},
	{
		program: "cmd/hutchd",
		deny:    []string{"github.com/opencontainers/runc/libcontainer", module + "internal/container/runtime", module + "internal/image", module + "internal/desktop"},
		why:     "the one service that all users may ask holds nothing that could run a command or open a path for them (ADR 0001)",
	},
	{
		program: "cmd/hutch-supervisor",
		deny:    []string{"github.com/google/nftables", "github.com/insomniacslk/dhcp", "github.com/miekg/dns", module + "internal/image", "github.com/spf13/cobra"},
		why:     "one runs for each container: what it does not need costs memory as many times (ADR 0001)",
	},
	{
		program: "cmd/hutch-agent",
		deny: []string{
			"github.com/opencontainers", "github.com/spf13", "github.com/pelletier", "github.com/google", "github.com/vishvananda", "net/http", "crypto/tls",
			module + "internal/config", module + "internal/desktop", module + "internal/image", module + "internal/network", module + "internal/workspace",
		},
		why: "it is mapped into every container, next to hostile programs: small, and little to attack (ADR 0001)",
	},
}

// A forbidden call; without a name, the import itself.
type forbidden struct {
	pkg, name string
	except    []string
	why       string
}

var forbiddenCalls = []forbidden{
	{"io/ioutil", "", nil, "deprecated since Go 1.16: os and io have all of it"},
	{"math/rand", "", nil, "cookies, ids and addresses that can be guessed are none; crypto/rand, or math/rand/v2 for what nobody gains by guessing"},
	{"path/filepath", "EvalSymlinks", nil, "the path is another one by the time it is opened (CVE-2018-15664); sys.OpenIn and sys.OpenBeneath give a descriptor"},
	{"os", "Chown", nil, "follows a symbolic link that a container put there (CVE-2018-6954); Lchown, or Chown of an open file"},
	{"os", "FindProcess", nil, "the id may belong to another process by now; sys.Process names one for good"},
	{"os", "Exit", []string{"cmd", "internal/cli/cmd", "internal/testenv/cmd", "test"}, "deferred steps of undo do not run; return an error to main"},
	{"golang.org/x/sys/unix", "Kill", []string{"cmd/hutch-agent", "internal/container/agent"}, "the id may belong to another process by now; sys.Process.Signal uses a process descriptor"},
	{"syscall", "Kill", []string{"cmd/hutch-agent", "internal/container/agent"}, "the id may belong to another process by now; sys.Process.Signal uses a process descriptor"},
	{"log", "", nil, "lines that are not escaped and know no level; the *slog.Logger of ui.NewLogger"},
	{"unsafe", "", []string{"internal/sys", "internal/container/agent", "cmd/hutch-agent"}, "system calls are wrapped in internal/sys"},
}
