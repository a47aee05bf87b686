// Package config is the configuration of the service: what its flags and its
// TOML file say, with defaults and checks. Every flag has a key of the same
// name in the file; [Config.Write] prints the whole with comments, and what it
// prints can be read again.
package config
