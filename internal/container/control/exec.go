package control

// AgentProtocol is what an agent says of itself; another one is not spoken to.
const AgentProtocol = 1

// Hello is the first message of whoever listens. Only after it does a client hand
// over its request: one that is stopped, or an impostor that never answers, has
// then been given nothing, and the client can go the slower way without running
// anything twice.
type Hello struct {
	Protocol int `json:"protocol"`
}

// Exec asks for a command to be run inside.
type Exec struct {
	Args []string `json:"args"`
	// User inside, by name or number, with ":group" if wanted; empty means the
	// container's default.
	User string `json:"user,omitempty"`
	// Env is added to, and wins over, the environment that is made for the user.
	Env []string `json:"env,omitempty"`
	// Dir to run in; empty means the user's home.
	Dir string `json:"dir,omitempty"`
	// Terminal asks for a pty, made inside; its master comes back with Started.
	Terminal bool `json:"terminal,omitempty"`
	Size     Size `json:"size,omitzero"`
	// Term is the kind of the caller's terminal (terminfo(5)).
	Term string `json:"term,omitempty"`
	// Login makes it a login shell: with no Args, the user's own.
	Login bool `json:"login,omitempty"`
	// Null lists which of the three standard descriptors are /dev/null. They do not
	// come along: the agent opens its own, as the host's is the host's to watch, lock
	// and change.
	Null []int `json:"null,omitempty"`
	// Console asks for nothing to be run: the master of the container's console,
	// which the resident agent keeps, comes with Started. All else is ignored.
	Console bool `json:"console,omitempty"`
}

// Size of a terminal, in characters.
type Size struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
}

// Input is what a client sends while its command runs. One field is set.
type Input struct {
	Signal int   `json:"signal,omitempty"`
	Resize *Size `json:"resize,omitempty"`
}

// Event is what a client hears of its command. One field is set.
type Event struct {
	Started bool     `json:"started,omitempty"`
	Exited  *Exited  `json:"exited,omitempty"`
	Failed  *Failure `json:"failed,omitempty"`
}

// Exited says how a command ended.
type Exited struct {
	Code   int `json:"code"`             // exit status, when Signal is 0
	Signal int `json:"signal,omitempty"` // the signal that ended it
}

// Status is the exit status a shell would give: 128+n for a signal.
func (e Exited) Status() int {
	if e.Signal != 0 {
		return 128 + e.Signal&127
	}
	return e.Code & 255
}

// Exit statuses of a command that could not be run, as env(1) and chroot(1)
// have them.
const (
	StatusFailed        = 125 // hutch's own failure
	StatusNotExecutable = 126
	StatusNotFound      = 127
)

// Failure says why a command did not run. The message comes from inside: it must
// be escaped before it is shown.
type Failure struct {
	Status  int    `json:"status"` // one of the Status constants
	Message string `json:"message"`
}
