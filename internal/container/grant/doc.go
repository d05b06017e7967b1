// Package grant decides what may be lent to a container. All of it is pure: facts
// in, an answer with its reason out. Lending itself is package rootfs's.
package grant
