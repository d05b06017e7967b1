// Package bridge makes and mends the links of the containers' network: the
// router's namespace, the pair of links between it and the host, the bridge in it
// and a port for each container.
//
// It makes what package network describes; which packets may pass is in firewall.
package bridge
