//go:build !linux

package mount

import (
	"context"
	"fmt"
	"os"
	"runtime"
)

func (mr Mounter) all(context.Context, []Mount, string) error { return unsupported() }

type kernel struct{}

func unmount(string) error { return unsupported() }

func detach(string) error { return unsupported() }

func (mr Mounter) detached(Mount) (*os.File, error) { return nil, unsupported() }

func unsupported() error { return fmt.Errorf("%w: no mounts on %s", ErrUnsupported, runtime.GOOS) }
