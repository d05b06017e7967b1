// Package control is how hutch's processes talk about one running container: the
// frames, the messages between the command line and the resident agent inside,
// and those between the command line and the supervisor.
//
// It decides nothing: what an agent does with a message is in package agent,
// what a supervisor does is in package supervisor. It must stay light, the
// command line is started for every exec.
//
//	frame:  length u32 big-endian │ body, JSON │ descriptors beside its first byte
//
//	exec:   client                         agent or supervisor
//	          ◄── Hello ────────────────────   it lives and listens
//	          ─── Exec [stdin stdout stderr] ► run this; without descriptors: on a pty
//	          ◄── Event started [pty] ──────
//	          ─── Input signal, resize ─────►
//	          ◄── Event exited ─────────────
package control
