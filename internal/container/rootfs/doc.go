// Package rootfs makes a container's root filesystem: the image's layers, read
// only and shared, under a private upper layer; and in it all that is lent, mounted
// before the container begins or later while it runs.
//
// It works in the mount namespace of its caller, the supervisor's own, so that no
// mount is ever seen on the host and none is left when everyone is gone. What an
// image is made of is the image wing's; which folders may be lent is decided in
// package grant.
package rootfs
