package robustness

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/test/robustness/cutdisk"
)

// What was acknowledged is there after a power cut at any moment, on every file
// system and backend.
func TestNothingAcknowledgedIsLostInAPowerCut(t *testing.T) {
	requirements(t)
	if testing.Short() {
		t.Skip("not in short mode: each recording takes 10 seconds or more")
	}
	seed, cuts, done := seedOf(t), numberOfCuts(t), &results{}
	t.Run("cuts", func(t *testing.T) {
		for _, fs := range fileSystems {
			for _, backend := range fs.backends {
				t.Run(backend+" on "+fs.Name, func(t *testing.T) {
					t.Parallel()
					random := randomFor(seed, t.Name())
					o := &outcome{fs: fs.Name, backend: backend, seed: seed}
					for o.cuts < cuts || o.lostWrites == 0 && o.cuts < cuts+cutsEach {
						r := record(t, fs, backend, cutdisk.Honest, random)
						n := cutsMore
						if o.cuts < cuts {
							n = min(cutsEach, cuts-o.cuts)
						}
						r.cut(t, o, r.randomMoments(t, n, random), random)
						t.Logf("%d cuts, in %d of them the disk lost writes", o.cuts, o.lostWrites)
					}
					require.Positive(t, o.lostWrites, "no cut lost anything: this proves nothing")
					done.add(o)
					if *update { // at once: the whole run takes long, and may be ended
						require.NoError(t, done.write("power cuts"))
					}
				})
			}
		}
	})
	table, err := done.merge("")
	require.NoError(t, err)
	t.Log("\n" + table)
}

// cut makes cuts and reports those that broke a promise.
func (r *recording) cut(t *testing.T, o *outcome, moments []moment, random *rand.Rand) {
	t.Helper()
	for _, m := range moments {
		c := r.log.RandomCut(m.at, r.fs.Sector, random)
		if c.Loses(r.log) {
			o.lostWrites++
		}
		findings := r.after(t, m, c)
		o.add(findings)
		if len(findings) == 0 {
			continue
		}
		_, _, doing := r.around(m)
		t.Errorf("cut %d: a cut %v, after %d steps, in %s:\n%v", o.cuts, c, m.done, doing, findings)
	}
}

// after checks the disk that a cut leaves.
func (r *recording) after(t *testing.T, m moment, c cutdisk.Cut) (findings []finding) {
	t.Helper()
	image := filepath.Join(r.memory, fmt.Sprintf("cut-%d", m.at))
	require.NoError(t, r.start.WriteImage(r.log, c, image))
	kept := r.keep(t, image)
	if err := r.fs.MountImage(image, r.target); err != nil {
		require.NoError(t, os.Remove(image), err)
		return []finding{{unmounted, err.Error()}}
	}
	before, after, doing := r.around(m)
	k := checker{
		store: r.store, t: t, sockets: r.sockets, files: filepath.Join(r.target, "files"),
		images: r.images, byClient: m.at%4 != 0,
	}
	findings = k.check(before, after, doing)
	if err := cutdisk.UnmountImage(image, r.target); err != nil {
		findings = append(findings, finding{unusable, "in the end: " + err.Error()})
	}
	if kept != "" && len(findings) == 0 {
		require.NoError(t, os.Remove(kept))
	}
	return findings
}

// keep copies the image of a cut to where it can be looked at, if it is to be
// kept.
func (r *recording) keep(t *testing.T, image string) string {
	t.Helper()
	dir := os.Getenv(keepEnv)
	if dir == "" {
		return ""
	}
	kept := filepath.Join(dir, r.store.driver+"-"+r.fs.Name+"-"+filepath.Base(image))
	out, err := exec.Command("cp", "--sparse=always", image, kept).CombinedOutput()
	require.NoError(t, err, string(out))
	return kept
}
