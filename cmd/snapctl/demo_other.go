//go:build !linux

package main

import (
	"context"
	"fmt"
	"runtime"
)

func canMount() bool { return false }

func ownMounts() error { return demoInNamespace(context.Background(), nil, demoOptions{}) }

func demoInNamespace(context.Context, *app, demoOptions) error {
	return advise(fmt.Errorf("%w: it needs Linux, and this is %s", errNoDemo, runtime.GOOS), "run it on a Linux machine")
}
