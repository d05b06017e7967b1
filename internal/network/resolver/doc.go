// Package resolver finds out which DNS servers the host uses now, for package dns
// to ask them.
//
// Decide is the decision, pure; Follow reads the two files it rests on again
// whenever they change. What is written into containers is api.ResolvConf.
package resolver
