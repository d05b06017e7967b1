// Package image says what an image is, a read-only root filesystem that
// containers are made from: how it is referred to, what makes two of them the
// same, and how they are stored, found, shared and removed.
//
// How a root filesystem comes to be is the business of the rooms below
// (bootstrap, unpack); what a container adds to it (a private layer, a user) is
// container's. The store knows of containers only which layers they use, by
// asking whoever calls it.
package image
