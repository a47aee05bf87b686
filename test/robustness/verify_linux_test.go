package robustness

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/image"
)

// A checker looks at a store after a cut, or after a process was killed.
type checker struct {
	store
	t       *testing.T
	sockets string // a directory with a short path
	files   string // where exported files are; empty for none
	images  [2]ociImage
	// byClient: it is used through a service and not with commands.
	byClient bool
	// harmed: it was damaged on purpose, so that some of it may not be readable.
	harmed bool
	// open is the service that has read the store, where the client goes on with
	// it.
	open *service
}

// check looks at a store, and then uses it. It says which promises were broken;
// doing is what was under way.
func (c *checker) check(before, after state, doing string) (findings []finding) {
	before, after, whole := mending(before, after)
	c.harmed = whole != nil
	doubt := inDoubt(before, after)
	if whole != nil { // what differs there is what stands on the damage
		doubt = nil
	}
	if before.closed || after.closed {
		if f := c.reopen(); f != nil {
			return f
		}
	}
	look := c.look
	if c.byClient && whole == nil && len(doubt) == 0 { // what follows are calls, and no commands
		look = c.lookAndGoOn
	}
	found, findings := look()
	defer func() {
		if err := c.close(); err != nil {
			findings = append(findings, failed(err)...)
		}
	}()
	if len(findings) > 0 {
		return findings
	}
	findings = compare(before.withoutContent(doubt), after.withoutContent(doubt), found, doing)
	if len(findings) > 0 {
		return findings
	}
	for name := range doubt {
		if findings = c.decide(name, before, after); len(findings) > 0 {
			return findings
		}
		delete(found.snapshots, name)
	}
	if whole != nil {
		if findings = c.mend(*whole); len(findings) > 0 {
			return findings
		}
	}
	return c.use(found)
}

// decide commits a snapshot that is in doubt: either it is whole, or that is
// refused.
func (c *checker) decide(name string, before, after state) []finding {
	decided := name + "-decided"
	if _, err := c.try("commit", decided, name); err != nil {
		if strings.Contains(err.Error(), "layer is torn") {
			return nil
		}
		return failed(err)
	}
	d, err := c.diff(decided)
	if err != nil {
		return failed(err)
	}
	b, a := before.snapshots[name].diff, after.snapshots[name].diff
	if d != a && d != b && b != "" && a != "" {
		return []finding{{torn, fmt.Sprintf("snapshot %q was committed and is neither %s nor %s", name, b, a)}}
	}
	return nil
}

// reopen rebuilds a store whose database was damaged, if it cannot be opened.
func (c *checker) reopen() []finding {
	_, _, err := c.both("ls")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitDamaged {
		return nil // look says what is wrong
	}
	if _, err := c.try(rebuild...); err != nil {
		return failed(err)
	}
	return nil
}

// reopenAfter is reopen where a command has failed.
func (c *checker) reopenAfter(err error) []finding {
	if err == nil {
		return nil
	}
	return c.reopen()
}

// exitDamaged is the exit code of snapctl for a store that is damaged.
const exitDamaged = 8

func failed(err error) []finding { return []finding{{unusable, err.Error()}} }

// look says what is there. It opens the store with the commands, and reads the
// content through a service.
func (c *checker) look() (state, []finding) {
	found, findings := c.lookAndGoOn()
	if err := c.close(); err != nil {
		findings = append(findings, failed(err)...)
	}
	return found, findings
}

// lookAndGoOn is look; the service goes on.
func (c *checker) lookAndGoOn() (state, []finding) {
	found := newState()
	if findings := c.list(&found); len(findings) > 0 {
		return found, findings
	}
	if !c.byClient {
		if findings := c.info(found); len(findings) > 0 {
			return found, findings
		}
	}
	v, err := c.serve(c.t, c.sockets)
	if err != nil {
		return found, failed(err)
	}
	c.open = v
	return found, c.read(v, &found)
}

// close ends the service, if one has the store open.
func (c *checker) close() error {
	v := c.open
	if v == nil {
		return nil
	}
	c.open = nil
	return v.stop()
}

// list runs the commands that list things. The first that opens the store tells
// of layers without a row.
func (c *checker) list(found *state) []finding {
	out, said, err := c.both("--json", "ls")
	if err != nil {
		return failed(fmt.Errorf("snapctl ls: %w: %s", err, said))
	}
	if strings.Contains(said, "no snapshot has this layer") {
		return []finding{{stray, said}}
	}
	if strings.Contains(said, "is missing") && !c.harmed {
		return []finding{{lost, said}}
	}
	var ls struct {
		Snapshots []struct {
			Key, Kind, Parent string
			Images            []string
		}
	}
	if err := json.Unmarshal([]byte(out), &ls); err != nil {
		return failed(err)
	}
	for _, s := range ls.Snapshots {
		found.snapshots[s.Key] = snapshot{kind: s.Kind, parent: s.Parent}
		for _, name := range s.Images {
			found.images[name] = "" // read says what it is
		}
	}
	return nil
}

// info asks for what is known of one snapshot.
func (c *checker) info(found state) []finding {
	for key := range found.snapshots {
		if _, err := c.try("info", key); err != nil && !c.harmed {
			return failed(err)
		}
		break
	}
	return nil
}

// read reads all snapshots, images and exported files. What cannot be read is
// torn.
func (c *checker) read(v *service, found *state) (findings []finding) {
	broken := func(what, name string, err error) {
		if !c.harmed {
			findings = append(findings, finding{torn, fmt.Sprintf("%s %q: %v", what, name, err)})
		}
	}
	for key, s := range found.snapshots {
		if isOfImport(key) {
			continue
		}
		sum := digest.Canonical.Digester()
		if _, err := v.Diff(c.t.Context(), key, sum.Hash(), driver.DiffOptions{}); err != nil {
			broken("snapshot", key, err)
			s.diff = unreadable
		} else {
			s.diff = sum.Digest().String()
		}
		found.snapshots[key] = s
	}
	all, err := v.Images(c.t.Context())
	if err != nil {
		return append(findings, failed(err)...)
	}
	for _, img := range all {
		exported, err := v.Export(c.t.Context(), img.Name, io.Discard, image.ExportOptions{})
		if err != nil {
			broken("image", img.Name, err)
			found.images[img.Name] = unreadable
			continue
		}
		found.images[img.Name] = exported.Target.Digest.String()
	}
	if c.files == "" {
		return findings
	}
	entries, err := os.ReadDir(c.files)
	if err != nil {
		return append(findings, finding{lost, err.Error()})
	}
	for _, e := range entries {
		if found.files[e.Name()], err = digestOf(filepath.Join(c.files, e.Name())); err != nil {
			broken("file", e.Name(), err)
		}
	}
	return findings
}

// use does the next things that somebody would do, and in the end removes all:
// nothing may be left.
func (c *checker) use(found state) []finding {
	active := ""
	for _, key := range sorted(found.snapshots) {
		if found.snapshots[key].kind == "active" && !isOfImport(key) {
			active = key
			break
		}
	}
	way := c.useByCommands
	if c.byClient {
		way = c.useByClient
	}
	if err := way(active); err != nil {
		return failed(err)
	}
	return c.leftovers()
}

// useByCommands is use with commands, of which each opens the store.
func (c *checker) useByCommands(active string) error {
	steps := [][]string{
		{"import", "oci:" + c.images[0].layout, "--name", c.images[0].name}, {"prepare", "next", c.images[0].name}, {"commit", "next-committed", "next"},
	}
	if active != "" {
		steps = append(steps, []string{"commit", active + "-committed", active})
	}
	for _, args := range steps {
		if _, err := c.try(args...); err != nil {
			return err
		}
	}
	now := newState()
	if f := c.list(&now); f != nil {
		return fmt.Errorf("%v", f)
	}
	var own []string
	for _, key := range sorted(now.snapshots) {
		if !strings.HasPrefix(key, "sha256:") && !isOfImport(key) {
			own = append(own, key)
		}
	}
	for _, args := range [][]string{append([]string{"rm"}, own...), append([]string{"rmi"}, sorted(now.images)...), {"gc"}} {
		if _, err := c.try(args...); err != nil {
			return err
		}
	}
	return nil
}

// useByClient is use with the calls of one client.
func (c *checker) useByClient(active string) (err error) {
	if c.open == nil {
		if c.open, err = c.serve(c.t, c.sockets); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, c.close()) }() // what is left is listed by a command
	v, ctx := c.open, c.t.Context()
	source, err := image.ParseSource("oci:"+c.images[0].layout, nil)
	if err != nil {
		return err
	}
	img, err := v.Import(ctx, source, image.ImportOptions{Name: c.images[0].name})
	if err != nil {
		return err
	}
	err = errors.Join(v.Create(ctx, "next", img.Layers[len(img.Layers)-1].ChainID.String(), nil), v.Commit(ctx, "next-committed", "next", nil))
	if active != "" {
		err = errors.Join(err, v.Commit(ctx, active+"-committed", active, nil))
	}
	if err != nil {
		return err
	}
	return c.removeByClient(v)
}

// removeByClient removes all snapshots that are not of images, those first that
// others stand on no longer, and then all images.
func (c *checker) removeByClient(v *service) error {
	ctx := c.t.Context()
	var own []string
	children := map[string]int{}
	parents := map[string]string{}
	err := v.Walk(ctx, func(info snapshots.Info) error {
		children[info.Parent]++
		parents[info.Name] = info.Parent
		if !strings.HasPrefix(info.Name, "sha256:") && !isOfImport(info.Name) {
			own = append(own, info.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for len(own) > 0 {
		i := slices.IndexFunc(own, func(key string) bool { return children[key] == 0 })
		if i < 0 {
			return fmt.Errorf("each of %v has a child", own)
		}
		if err := v.Remove(ctx, own[i], false); err != nil {
			return err
		}
		children[parents[own[i]]]--
		own = slices.Delete(own, i, i+1)
	}
	images, err := v.Images(ctx)
	if err != nil {
		return err
	}
	for _, img := range images {
		if _, err := v.RemoveImage(ctx, img.Name); err != nil {
			return err
		}
	}
	_, err = v.Collect(ctx)
	return err
}

// leftovers says what is there in a store from which all was removed.
func (c *checker) leftovers() (findings []finding) {
	left := newState()
	if f := c.list(&left); f != nil {
		return f
	}
	for _, key := range sorted(left.snapshots) {
		findings = append(findings, finding{stray, fmt.Sprintf("snapshot %q after all was removed", key)})
	}
	for dir, known := range map[string][]string{
		c.root:                           {"lock", "layerkeep.json", "meta.db", "meta.db.reserve", "meta.db.reserve2", "meta.db.reserve3", "meta.db.reserve4", "meta.db.sums", "content", c.driver},
		c.layers():                       {".empty"},
		filepath.Join(c.root, "content"): {"blobs", "images.json", "ingest", "oci-layout"},
		filepath.Join(c.root, "content/blobs/sha256"): nil,
		filepath.Join(c.root, "content/ingest"):       nil,
	} {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			return failed(err)
		}
		for _, e := range entries {
			if dir == c.root && strings.HasPrefix(e.Name(), "meta.db.damaged-") {
				continue // a rebuild leaves the old database beside the new one
			}
			if !slices.Contains(known, e.Name()) {
				findings = append(findings, finding{stray, filepath.Join(dir, e.Name()) + " after all was removed"})
			}
		}
	}
	return findings
}
