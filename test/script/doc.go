// Package script is hutch's stories: what a person types, and what comes of it,
// with the real programs on a simulated workstation. Each story is a txtar file
// for testscript: those in shared/ live side by side on one workstation, under
// names of their own; those in own/ do something to the whole machine and get one
// each.
//
// Beside testscript's commands a story has:
//
//	exec hutch …          this story's hutch, as root of the workstation
//	exec host COMMAND …   any command as root of the workstation
//	dialog FILE COMMAND…  a command on a terminal, and what is said there
//	documented KIND       the last output is JSON as docs/reference/json.md has it
//	eventually COMMAND…   the command succeeds, at the latest after half a minute
//
// $ROOT is the story's HUTCH_ROOT, $STATE its folder of containers and images, $BIN
// that of the programs. The person of the workstation is ada, uid 1234.
package script
