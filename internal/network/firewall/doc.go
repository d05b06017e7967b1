// Package firewall turns the wanted state of the network into nftables rules.
//
// Everything that must hold stands in the router's namespace, out of reach of
// whatever flushes or reloads the host's ruleset; the host's own table
// masquerades, and says a second time what the router says already. Each side is
// changed in one transaction. What is wanted is decided in package network.
package firewall
