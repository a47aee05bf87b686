package graphdriver

import (
	"fmt"
	"path/filepath"
	"regexp"
	"sync"

	"github.com/containerd/errdefs"
)

// DefaultSocketDir is where Docker looks for the sockets of plugins.
const DefaultSocketDir = "/run/docker/plugins"

// scopePrefix and the plugin's name make the scope in the store.
const scopePrefix = "docker-"

// activeSuffix follows the ID in the name of a layer that can be written to. No
// ID holds a slash, so it is never part of one.
const activeSuffix = "/rw"

var (
	pluginNames = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,56}$`)
	})
	layerIDs = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)
	})
)

// CheckName returns an error unless name can be that of a plugin: lower-case
// letters, digits, dots, dashes and underscores, at most 57. The error matches
// errdefs.ErrInvalidArgument.
func CheckName(name string) error {
	if !pluginNames().MatchString(name) {
		return fmt.Errorf("plugin name %q: it is made of lower-case letters, digits, dots, dashes and underscores: %w",
			name, errdefs.ErrInvalidArgument)
	}
	return nil
}

// SocketPath returns where the plugin called name listens: below dir, or below
// [DefaultSocketDir] when dir is empty. Docker takes the name of a plugin from
// that of its socket.
func SocketPath(dir, name string) (string, error) {
	if err := CheckName(name); err != nil {
		return "", err
	}
	if dir == "" {
		dir = DefaultSocketDir
	}
	return filepath.Join(dir, name+".sock"), nil
}

// checkID refuses what is no ID of a layer: it becomes the name of a directory.
func checkID(id string) error {
	if id == "" {
		return fmt.Errorf("no layer ID: Docker repeats a call whose connection broke without its arguments, so this has to be done again: %w",
			errdefs.ErrInvalidArgument)
	}
	if !layerIDs().MatchString(id) {
		return fmt.Errorf("layer ID %q: it is a plain file name of at most 128 letters, digits, dots, dashes and underscores: %w",
			id, errdefs.ErrInvalidArgument)
	}
	return nil
}
