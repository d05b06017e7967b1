// Package ui is how hutch looks on a terminal and in a pipe: tables, JSON, sizes
// and times for people, colours, progress, the log of its steps, and the escaping
// of everything that came from containers, images and the network.
//
// What is said is the callers' business; exit statuses belong to package cli.
package ui
