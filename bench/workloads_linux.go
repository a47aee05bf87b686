package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/layerkeep/layerkeep/bench/disk"
	"github.com/layerkeep/layerkeep/bench/synth"
)

// workloadSuite measures whole pieces of work in a container.
func workloadSuite() Suite {
	s := Suite{Name: "workloads", About: "pieces of work as programs do them in a container, and on the bare file system"}
	for _, w := range workloads() {
		s.Cases = append(s.Cases, Case{
			Name: w.name, Quick: w.quick, About: w.about, Cannot: w.cannot,
			Start: func(ctx context.Context, st *Stage) (Trial, error) { return startWorkload(ctx, st, w) },
		})
	}
	s.Cases = append(s.Cases, experiments()...)
	return s
}

// A workload is something that is done in a container.
type workload struct {
	name, about string
	quick       bool
	// base makes what the image has; nil for an empty one.
	base func(ctx context.Context, st *Stage) (string, error)
	// work is what is measured. It ends with its data on the disk where a program
	// would see to that.
	work   func(ctx context.Context, root string) error
	cannot func(*Subject, *disk.Place) string
}

func workloads() []workload {
	return []workload{
		{
			name: "unpack", quick: true, about: "unpack a source tree of 1,500 files of 8 KiB",
			work: func(ctx context.Context, root string) error {
				dir, err := os.Open(root)
				if err != nil {
					return err
				}
				defer dir.Close()
				stream := synth.Stream(func(l *synth.Layer) { l.Files("src", 1500, 8<<10) })
				defer stream.Close()
				return extract(ctx, dir, stream)
			},
			cannot: noReference,
		},
		{
			name: "go-build", about: "build 12 packages of Go that import nothing, without a cache",
			base: goSource, work: goBuild, cannot: needs("go"),
		},
		{
			name: "git-status", about: "git status, twice, in a repository with 4,000 files that the image has",
			base: gitRepository, work: gitStatus, cannot: needs("git"),
		},
		{
			name: "sqlite", about: "200 transactions on a database of 10,000 rows that the image has",
			base: sqliteDatabase, work: sqliteUpdate, cannot: needs("sqlite3"),
		},
		{
			name: "upgrade", about: "replace 2,000 files of 4 KiB as a package manager does: write beside, sync each, rename",
			base: func(ctx context.Context, st *Stage) (string, error) {
				return st.Base(ctx, "upgrade", func(l *synth.Layer) { l.Files("usr", upgradeFiles, 4<<10) })
			},
			work: upgrade, cannot: noReference,
		},
		{
			name: "log", quick: true, about: "append 10,000 lines to a log of 1 MiB that the image has, and sync after every 100",
			base: func(ctx context.Context, st *Stage) (string, error) {
				return st.Base(ctx, "log", func(l *synth.Layer) { l.File("log", 1<<20) })
			},
			work: appendLog, cannot: noReference,
		},
	}
}

// needs leaves a workload out where a program is missing.
func needs(program string) func(*Subject, *disk.Place) string {
	return func(s *Subject, p *disk.Place) string {
		if _, err := exec.LookPath(program); err != nil {
			return "needs the program " + program
		}
		return noReference(s, p)
	}
}

// A workTrial does a workload in a new container each round.
type workTrial struct {
	st      *Stage
	w       workload
	parents []string
}

func startWorkload(ctx context.Context, st *Stage, w workload) (Trial, error) {
	t := workTrial{st: st, w: w}
	if w.base != nil {
		base, err := w.base(ctx, st)
		if err != nil {
			return nil, err
		}
		t.parents = []string{base}
	}
	return t, nil
}

func (t workTrial) Round(ctx context.Context, r *Round) error {
	return t.st.In(ctx, t.parents, func(c *Container) error {
		return t.st.addCost(ctx, r, c.Layer, 1, 1, func() error { return addTime(r, func() error { return t.w.work(ctx, c.Root) }) })
	})
}

// addTime does some work and adds the time that it took.
func addTime(r *Round, work func() error) error {
	took, err := timed(work)
	r.Add("time", Seconds, took)
	return err
}

func (t workTrial) Stop(context.Context) error { return nil }

// do runs a program in a directory, with an environment in which nothing of the
// user's counts.
func do(ctx context.Context, dir string, env []string, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C"}, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

const goPackages = 12

func goSource(ctx context.Context, st *Stage) (string, error) {
	return st.Base(ctx, "go", func(l *synth.Layer) {
		l.Dir("src")
		l.Text("src/go.mod", "module example.org/bench\n\ngo 1.20\n")
		for p := range goPackages {
			dir := fmt.Sprintf("src/p%02d", p)
			l.Dir(dir)
			var text strings.Builder
			fmt.Fprintf(&text, "package p%02d\n", p)
			for f := range 50 {
				fmt.Fprintf(&text, "\nfunc F%d(a, b int) int {\n\tfor i := 0; i < b; i++ {\n\t\ta = a*31 + i%%%d\n\t}\n\treturn a\n}\n", f, f+2)
			}
			l.Text(dir+"/p.go", text.String())
		}
	})
}

func goBuild(ctx context.Context, root string) error {
	root, err := filepath.EvalSymlinks(root) // the go command wants no links
	if err != nil {
		return err
	}
	return do(ctx, filepath.Join(root, "src"), []string{
		"GOCACHE=" + filepath.Join(root, "cache"), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOTOOLCHAIN=local", "GOWORK=off", "CGO_ENABLED=0", "GOENV=off",
	}, "go", "build", "./...")
}

var gitEnv = []string{
	"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
	"GIT_CONFIG_COUNT=4", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	"GIT_CONFIG_KEY_1=user.name", "GIT_CONFIG_VALUE_1=bench", "GIT_CONFIG_KEY_2=user.email", "GIT_CONFIG_VALUE_2=bench@example.org",
	"GIT_CONFIG_KEY_3=core.fsync", "GIT_CONFIG_VALUE_3=none",
}

func gitRepository(ctx context.Context, st *Stage) (string, error) {
	return st.Prepared(ctx, "git", func(root string) error {
		dir, err := os.Open(root)
		if err != nil {
			return err
		}
		defer dir.Close()
		stream := synth.Stream(func(l *synth.Layer) { l.Files("repo", 4000, 200) })
		defer stream.Close()
		if err := extract(ctx, dir, stream); err != nil {
			return err
		}
		repo := filepath.Join(root, "repo")
		for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"commit", "-q", "-m", "all"}} {
			if err := do(ctx, repo, gitEnv, "git", args...); err != nil {
				return err
			}
		}
		return nil
	})
}

func gitStatus(ctx context.Context, root string) error {
	for range 2 {
		if err := do(ctx, filepath.Join(root, "repo"), gitEnv, "git", "status", "--porcelain"); err != nil {
			return err
		}
	}
	return nil
}

func sqliteDatabase(ctx context.Context, st *Stage) (string, error) {
	return st.Prepared(ctx, "sqlite", func(root string) error {
		return do(ctx, root, nil, "sqlite3", filepath.Join(root, "db"), "create table t(id integer primary key, v text);"+
			"with recursive n(i) as (select 1 union all select i+1 from n where i < 10000) insert into t select i, hex(randomblob(100)) from n;")
	})
}

func sqliteUpdate(ctx context.Context, root string) error {
	var text strings.Builder
	for i := range 200 {
		fmt.Fprintf(&text, "update t set v = 'changed' where id = %d;\n", i*50+1)
	}
	return do(ctx, root, nil, "sqlite3", filepath.Join(root, "db"), text.String())
}

const upgradeFiles = 2000

func upgrade(ctx context.Context, root string) error {
	content := make([]byte, 4<<10)
	for i := range upgradeFiles {
		if err := ctx.Err(); err != nil {
			return err
		}
		path := filepath.Join(root, synth.FileName("usr", i))
		if err := writeSynced(path+".new", content); err != nil {
			return err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
	}
	return nil
}

func writeSynced(path string, content []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

func appendLog(ctx context.Context, root string) error {
	f, err := os.OpenFile(filepath.Join(root, "log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	line := []byte(strings.Repeat("x", 99) + "\n")
	for i := 1; i <= 10_000 && err == nil; i++ {
		if _, err = f.Write(line); err == nil && i%100 == 0 {
			err = errors.Join(f.Sync(), ctx.Err())
		}
	}
	return errors.Join(err, f.Close())
}
