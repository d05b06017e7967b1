package control

import "time"

// A Request to a supervisor. One field is set.
type Request struct {
	Stop    *Stop    `json:"stop,omitempty"`
	Agent   bool     `json:"agent,omitempty"` // from then on an agent of its own answers on this connection
	Console *Size    `json:"console,omitempty"`
	Mount   *Mount   `json:"mount,omitempty"`
	Unmount string   `json:"unmount,omitempty"` // target
	Limits  *Limits  `json:"limits,omitempty"`
	Display *Display `json:"display,omitempty"`
	Usage   bool     `json:"usage,omitempty"`
}

// Stop ends the container: asked politely, and killed after the timeout; at once
// with Force. It is answered when everything of the run is gone.
type Stop struct {
	Timeout time.Duration `json:"timeout"`
	Force   bool          `json:"force"`
}

// Mount lends a folder, file or socket. It comes as descriptor 0, a mount that is
// in no namespace, made where its source was checked: no path is looked up again.
type Mount struct {
	Source string `json:"source"` // for people
	Target string `json:"target"` // absolute, inside
}

// Limits of a running container.
type Limits struct {
	Memory int64   `json:"memory"` // bytes; 0: none
	CPUs   float64 `json:"cpus"`   // 0: none
	PIDs   int64   `json:"pids"`   // 0: none
}

// Display says where the person's X server is now.
type Display struct {
	Network       string `json:"network"` // unix or tcp
	Address       string `json:"address"` // path, @abstract name or host:port
	Number        int    `json:"number"`
	AuthorityFile string `json:"authority_file,omitempty"`
	UID           uint32 `json:"uid"` // whose file that is
}

// Usage of a running container. -1 where the host does not account for it.
type Usage struct {
	Memory      int64 `json:"memory"` // bytes
	MemoryLimit int64 `json:"memory_limit"`
	Tasks       int64 `json:"tasks"`
	TasksLimit  int64 `json:"tasks_limit"`
	CPU         int64 `json:"cpu_ns"` // time used so far, in nanoseconds
	OOMKills    int64 `json:"oom_kills"`
}

// An Answer of a supervisor.
type Answer struct {
	Error  string `json:"error,omitempty"`
	Remedy string `json:"remedy,omitempty"`
	Usage  *Usage `json:"usage,omitempty"`
}
