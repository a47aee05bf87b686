package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// demoTargets are the directories on which the demo mounts.
func demoTargets() []string { return []string{"merged", "below"} }

// A scene is one step of the demo.
type scene struct {
	title string
	run   func(ctx context.Context, d *demo) error
}

func demoSteps() []scene {
	return []scene{
		{"What is in the image", stepLayers},
		{"Import the image", stepImport},
		{"Look at the layers", stepTree},
		{"Mount it: the layers become one tree", stepMount},
		{"Find the file that a layer hides", stepHidden},
		{"Mount it writable, and change something", stepChange},
		{"List the changes", stepChanges},
		{"Pack the changes into a layer", stepDiff},
		{"Commit: the changes become a layer of their own", stepCommit},
		{"Clean up", stepCleanUp},
	}
}

func (d *demo) intro() {
	d.narrator.say("A container's root file system is a stack of layers that look like one tree.\n" +
		"This demo takes a small image apart and puts it together again.")
	if d.namespace {
		d.narrator.say("You are not root, so it runs in a user namespace of its own.")
	}
	d.narrator.say("Everything happens in a temporary directory:")
	d.narrator.command("cd " + d.dir)
	d.narrator.command("export " + rootEnv + "=" + d.path("store"))
}

func (d *demo) outro() {
	d.narrator.say("\nThat was all of it, and nothing of it is left. 'snapctl help' lists the commands.")
}

func stepLayers(_ context.Context, d *demo) error {
	d.narrator.say("Each layer is a tar archive. The upper ones add to and replace what is below, and hide\n" +
		"it: .wh.NAME hides NAME, .wh..wh..opq hides all that the directory held below.")
	for i, l := range demoLayers() {
		d.narrator.command(fmt.Sprintf("tar -tf layer-%d.tar    # %s", i+1, l.createdBy))
		var names []string
		for _, e := range l.entries {
			switch {
			case e.link != "":
				names = append(names, e.path+" link to "+e.link)
			case e.symlink != "":
				names = append(names, e.path+" -> "+e.symlink)
			default:
				names = append(names, e.path)
			}
		}
		d.narrator.output(strings.Join(names, "\n"))
	}
	return nil
}

func stepImport(ctx context.Context, d *demo) error {
	out, err := d.snapctl(ctx, "import", "demo.tar")
	if err != nil {
		return err
	}
	return expect(out == demoRef+"\n", "import prints %q, not %q", demoRef, out)
}

func stepTree(ctx context.Context, d *demo) error {
	d.narrator.say("Every layer is now a committed snapshot: it never changes again.")
	out, err := d.snapctl(ctx, "tree")
	if err != nil {
		return err
	}
	layers, err := d.layerKeys(ctx)
	if err != nil {
		return err
	}
	d.result.Driver = layers.driver
	d.narrator.say("They are kept by the backend " + layers.driver + ".")
	return errors.Join(
		expect(strings.Count(out, "committed") == len(demoLayers()), "the tree shows %d committed snapshots", len(demoLayers())),
		expect(strings.Contains(out, "["+demoRef+"]"), "the tree shows where %s is", demoRef),
	)
}

func stepMount(ctx context.Context, d *demo) error {
	if _, err := d.snapctl(ctx, "mount", demoRef, "merged"); err != nil {
		return err
	}
	listing, err := d.find("merged")
	if err != nil {
		return err
	}
	motd, err := d.cat("merged/etc/motd")
	if err != nil {
		return err
	}
	d.narrator.say("The greeting is the application layer's, not the base layer's. The password is gone, and\n" +
		"the package cache holds only what the last layer put there.")
	one, two := d.stat("merged/bin/greet"), d.stat("merged/bin/hello")
	return errors.Join(
		expect(motd == "Hello from the application layer.\n", "the upper layer's etc/motd is seen"),
		expect(!slices.Contains(listing, "merged/srv/app/password.txt"), "the whiteout hides password.txt"),
		expect(!slices.Contains(listing, "merged/var/cache/packages/shell.pkg"), "the opaque directory hides shell.pkg"),
		expect(slices.Contains(listing, "merged/var/cache/packages/index"), "the opaque directory shows its own index"),
		expect(one != nil && two != nil && os.SameFile(one, two), "bin/greet and bin/hello are one file"),
		d.expectNoMarkers(listing),
	)
}

func (d *demo) expectNoMarkers(listing []string) error {
	hasMarker := func(p string) bool { return strings.Contains(p, "/.wh.") }
	return expect(!slices.ContainsFunc(listing, hasMarker), "no marker is visible in the tree")
}

func stepHidden(ctx context.Context, d *demo) error {
	d.narrator.say("Hidden is not deleted: the layer below still has the password. Mount that layer beside it.")
	layers, err := d.layerKeys(ctx)
	if err != nil {
		return err
	}
	second := layers.keys[1]
	if _, err := d.snapctl(ctx, "mount", second, "below"); err != nil {
		return err
	}
	secret, err := d.cat("below/srv/app/password.txt")
	if err != nil {
		return err
	}
	d.narrator.say("Whoever has the image has the password. A file is out of an image only when no layer has it.")
	for _, target := range []string{"below", "merged"} {
		if _, err := d.snapctl(ctx, "umount", target); err != nil {
			return err
		}
	}
	return errors.Join(
		expect(secret == "hunter2\n", "the lower layer shows the password"),
		expect(d.stat("below/srv") == nil, "nothing is mounted after umount"),
	)
}

func stepChange(ctx context.Context, d *demo) error {
	d.narrator.say("A writable snapshot is an empty layer on top. Writes go there, never into the image.")
	if _, err := d.snapctl(ctx, "mount", "--rw", "work", demoRef, "merged"); err != nil {
		return err
	}
	d.narrator.command("echo Hello from me. > merged/etc/motd")
	d.narrator.command("rm merged/etc/os-release")
	d.narrator.command("mkdir merged/srv/app/release-2")
	d.narrator.command("echo port = 9090 > merged/srv/app/release-2/app.conf")
	return errors.Join(
		os.WriteFile(d.path("merged/etc/motd"), []byte("Hello from me.\n"), 0o644),
		os.Remove(d.path("merged/etc/os-release")),
		os.Mkdir(d.path("merged/srv/app/release-2"), 0o755),
		os.WriteFile(d.path("merged/srv/app/release-2/app.conf"), []byte("port = 9090\n"), 0o644),
	)
}

func stepChanges(ctx context.Context, d *demo) error {
	out, err := d.snapctl(ctx, "changes", "work")
	if err != nil {
		return err
	}
	d.narrator.say("A added, M modified, D deleted. A directory is modified when its own time changed.")
	wanted := []string{
		"M /etc", "D /etc/os-release", "M /etc/motd",
		"M /srv/app", "A /srv/app/release-2", "A /srv/app/release-2/app.conf",
	}
	got := strings.Split(strings.TrimSpace(out), "\n")
	return expect(slices.Equal(got, wanted), "the changes are %q, not %q", wanted, got)
}

func stepDiff(ctx context.Context, d *demo) error {
	if _, err := d.snapctl(ctx, "diff", "-o", "layer.tar", "work"); err != nil {
		return err
	}
	names, err := d.listTar("layer.tar")
	if err != nil {
		return err
	}
	d.narrator.say("The deleted file has become a whiteout. The same changes always give the same bytes:")
	if _, err := d.snapctl(ctx, "diff", "-o", "again.tar", "work"); err != nil {
		return err
	}
	first, err1 := os.ReadFile(d.path("layer.tar"))
	second, err2 := os.ReadFile(d.path("again.tar"))
	d.narrator.command("sha256sum layer.tar again.tar")
	d.narrator.output(digest.FromBytes(first).Encoded() + "  layer.tar\n" + digest.FromBytes(second).Encoded() + "  again.tar")
	return errors.Join(err1, err2,
		expect(slices.Contains(names, "etc/.wh.os-release"), "the layer holds a whiteout of etc/os-release"),
		expect(!slices.Contains(names, "bin/greet"), "the layer holds nothing that is unchanged"),
		expect(bytes.Equal(first, second), "a second diff gives the same bytes"),
	)
}

func stepCommit(ctx context.Context, d *demo) error {
	for _, args := range [][]string{{"umount", "merged"}, {"commit", "changed", "work"}, {"tree"}, {"mount", "changed", "merged"}} {
		if _, err := d.snapctl(ctx, args...); err != nil {
			return err
		}
	}
	motd, err := d.cat("merged/etc/motd")
	if err != nil {
		return err
	}
	gone := d.stat("merged/etc/os-release") == nil
	if _, err := d.snapctl(ctx, "umount", "merged"); err != nil {
		return err
	}
	return errors.Join(
		expect(motd == "Hello from me.\n", "the committed snapshot has the new greeting"),
		expect(gone, "the committed snapshot does not have the deleted file"),
	)
}

func stepCleanUp(ctx context.Context, d *demo) error {
	for _, args := range [][]string{{"rm", "changed"}, {"rmi", demoRef}, {"gc"}} {
		if _, err := d.snapctl(ctx, args...); err != nil {
			return err
		}
	}
	out, err := d.snapctl(ctx, "ls")
	if err != nil {
		return err
	}
	return expect(strings.Count(out, "\n") == 1, "no snapshot is left, but there is %q", out)
}

// expect returns an error unless it is so.
func expect(isSo bool, format string, args ...any) error {
	if isSo {
		return nil
	}
	return fmt.Errorf("expected that "+format, args...)
}

// demoKeys are the snapshots of the image, lowest first.
type demoKeys struct {
	driver string
	keys   []string
}

func (d *demo) layerKeys(ctx context.Context) (demoKeys, error) {
	out, err := d.execute(ctx, "--json", "info", demoRef)
	if err != nil {
		return demoKeys{}, err
	}
	var info infoResult
	if err := json.Unmarshal([]byte(out), &info); err != nil {
		return demoKeys{}, err
	}
	keys := append([]string{info.Key}, info.Parents...)
	slices.Reverse(keys)
	return demoKeys{info.Driver, keys}, expect(len(keys) == len(demoLayers()), "the image has %d snapshots", len(demoLayers()))
}

// stat returns nil for what is not there.
func (d *demo) stat(name string) fs.FileInfo {
	info, err := os.Lstat(d.path(name))
	if err != nil {
		return nil
	}
	return info
}
