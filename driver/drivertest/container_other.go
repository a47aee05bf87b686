//go:build !linux

package drivertest

import (
	"errors"
	"testing"

	"github.com/layerkeep/layerkeep/mount"
)

func inContainer(testing.TB, *mount.IDMap, string, string) error { return errors.ErrUnsupported }
