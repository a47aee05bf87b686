package robustness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/resultdoc"
)

// What was acknowledged is there when a command, or the service that it goes
// through, is killed, and what was not is there whole or not at all.
func TestNothingAcknowledgedIsLostWhenAProcessIsKilled(t *testing.T) {
	requirements(t)
	if testing.Short() {
		t.Skip("not in short mode: package snapshotter kills processes there")
	}
	seed, rounds := seedOf(t), numberOfCuts(t)/cutsPerRound
	done := &kills{}
	t.Run("kills", func(t *testing.T) {
		for i, place := range killPlaces {
			t.Run(place.backend, func(t *testing.T) {
				t.Parallel()
				random := randomFor(seed, t.Name())
				dir := fstest.Scratch(t, place.fs)
				first, second := images(t, t.TempDir(), random)
				layer := filepath.Join(t.TempDir(), "layer.tar")
				require.NoError(t, os.WriteFile(layer, randomLayer(t, random), 0o600))
				s := tell(t, dir, place.backend, [2]ociImage{first, second}, layer)
				for round := range max(1, rounds) {
					for j, v := range variants {
						if rounds == 0 && i%2 != j%2 {
							continue // others take the other half
						}
						k := &killOutcome{fs: string(place.fs), backend: place.backend, signal: v.signal.String(), served: v.served}
						s.again(dir, round, v).live(t, random, v, k)
						done.add(k)
					}
				}
			})
		}
	})
	t.Log(done.table(seed, now()))
	for _, k := range done.all {
		require.Positive(t, k.hits, "%+v: no process was killed while it worked", k)
	}
	if *update && !t.Failed() {
		require.True(t, done.complete(), "%s is not written: only a part of the tests ran", document)
		require.NoError(t, resultdoc.Replace(document, "killed processes", done.table(seed, now())))
	}
}

// A variant says who is killed and how.
type variant struct {
	signal syscall.Signal
	served bool
}

var variants = []variant{{syscall.SIGKILL, false}, {syscall.SIGTERM, false}, {syscall.SIGTERM, true}, {syscall.SIGKILL, true}}

// again returns the story with a store of its own.
func (s *story) again(dir string, round int, v variant) *story {
	other := *s
	name := fmt.Sprintf("%d-%d-%t", round, v.signal, v.served)
	other.store.root, other.files = filepath.Join(dir, name), filepath.Join(dir, name+"-files")
	return &other
}

// live does all of the story. In each command a process is killed: the command,
// or the service that it goes through.
func (s *story) live(t *testing.T, random *rand.Rand, v variant, k *killOutcome) {
	t.Helper()
	s.makeDirectories(t)
	before := newState()
	for _, d := range s.deeds {
		if d.alone && v.served {
			continue // all is as before when it is done
		}
		found := before
		var err error
		if d.harm != nil {
			require.NoError(t, d.harm(s.store))
			d.damaged = s.damaged(t, d.damaged) // the damage has times of its own here
		}
		if d.events > 0 {
			var killed bool
			killed, err = s.interrupt(t, d, v, 1+random.IntN(d.events))
			if killed {
				k.hits++
			}
			k.kills++
			if d.harm != nil {
				s.requireMended(t, k, d, v, err)
			} else {
				found = s.requireSound(t, k, before, d, v, err)
			}
		}
		if d.harm != nil {
			s.mend(t, d)
		} else {
			s.finish(t, before, found, d, err)
		}
		before = d.after
	}
	_, err := s.store.try("gc") // the one of the story was killed
	require.NoError(t, err)
	require.Empty(t, s.checker(t).leftovers())
}

// interrupt runs a command and kills a process at a change in the store. It
// reports whether that was at work then, and the command's error.
func (s *story) interrupt(t *testing.T, d deed, how variant, at int) (killed bool, failed error) {
	t.Helper()
	var v *service
	if how.served {
		var err error
		v, err = s.store.serve(t, s.sockets)
		require.NoError(t, err)
	}
	e, err := watch(s.store.root)
	require.NoError(t, err)
	cmd := s.store.command(s.placed(d.args)...)
	var said strings.Builder
	cmd.Stderr = &said
	require.NoError(t, cmd.Start())
	victim := cmd.Process
	if how.served {
		victim = v.cmd.Process
	}
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		e.count(func(n int) {
			if n == at {
				killed = victim.Signal(how.signal) == nil
			}
		})
	}()
	failed = cmd.Wait()
	require.NoError(t, e.Close())
	<-watching
	if how.served {
		if !killed {
			require.NoError(t, v.stop())
		} else {
			<-v.ended
			_ = v.Client.Close() // what it was connected to is gone
		}
	}
	if failed != nil {
		failed = fmt.Errorf("snapctl %s: %w: %s", d.args[0], failed, said.String())
	}
	return killed, failed
}

// requireSound requires that a store is as before a command or as after it, for
// each thing in it; as after when the command has succeeded, and as before when
// it has said that it was interrupted.
func (s *story) requireSound(t *testing.T, k *killOutcome, before state, d deed, v variant, failed error) state {
	t.Helper()
	what := fmt.Sprintf("%v after %v (served: %t, error: %v)", d.args, v.signal, v.served, failed)
	after := d.after
	var exit *exec.ExitError
	switch {
	case failed == nil:
		before = after
	case !v.served && v.signal == syscall.SIGTERM && errors.As(failed, &exit) && exit.Exited() && d.args[0] != "import":
		after = before
	}
	c := s.checker(t)
	found, findings := c.look()
	if len(findings) == 0 {
		doubt := inDoubt(before, after)
		findings = compare(before.withoutContent(doubt), after.withoutContent(doubt), found, "snapctl "+d.args[0])
	}
	k.add(findings)
	require.Empty(t, findings, what)
	return found
}

// requireMended requires that a command which was killed while it mended a
// store has lost nothing: what was not damaged is there, and all is where the
// command has succeeded.
func (s *story) requireMended(t *testing.T, k *killOutcome, d deed, v variant, failed error) {
	t.Helper()
	c := s.checker(t)
	c.harmed = failed != nil
	found, findings := newState(), c.reopenAfter(failed)
	if len(findings) == 0 {
		found, findings = c.look()
	}
	if len(findings) == 0 {
		before := d.damaged.halfMended(d.after)
		if slices.Equal(d.args, rebuild) { // images come after the database; a repair goes on with them
			before.images = map[string]string{}
		}
		if failed == nil {
			before = d.after
		}
		findings = compare(before, d.after, found, "snapctl "+d.args[0])
	}
	k.add(findings)
	require.Empty(t, findings, "%v after %v (served: %t, error: %v)", d.args, v.signal, v.served, failed)
}

// mend does a command again that was killed while it mended the store. Then
// nothing is left of the damage.
func (s *story) mend(t *testing.T, d deed) {
	t.Helper()
	out, said, err := s.store.both(d.args...)
	if err != nil && strings.Contains(said, "the database can be opened") { // it was rebuilt already
		out, said, err = s.store.both(onlyRepair...)
	}
	require.NoError(t, err, "%v: %s%s", d.args, out, said)
	require.Empty(t, s.checker(t).clean(d.after), "%v, done again", d.args)
}

// finish does a command that was interrupted, as far as that is still to be
// done. A layer that looks whole may be torn all the same, so it is applied
// again.
func (s *story) finish(t *testing.T, before, found state, d deed, failed error) {
	t.Helper()
	inDoubt := failed != nil && d.args[0] == "apply"
	if len(compare(d.after, d.after, found, "")) == 0 && !inDoubt {
		return
	}
	_, err := s.store.try(s.placed(d.args)...)
	switch {
	case err == nil:
	case d.args[0] == "apply" && strings.Contains(err.Error(), "layer is torn"):
		for _, args := range [][]string{{"rm", "work"}, {"prepare", "work", before.snapshots["work"].parent}, d.args} {
			_, err := s.store.try(args...)
			require.NoError(t, err)
		}
	case d.args[0] == "rmi":
		_, err := s.store.try("gc")
		require.NoError(t, err)
	default:
		require.NoError(t, err)
	}
	for name := range found.files {
		if strings.HasPrefix(name, durable.TempPrefix) {
			require.NoError(t, os.Remove(filepath.Join(s.files, name)))
		}
	}
	require.Empty(t, compare(d.after, d.after, s.state(t), ""), "%v, done again", d.args)
}
