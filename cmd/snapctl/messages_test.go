package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var updateMessages = flag.Bool("update-messages", false, "write testdata/messages.txt anew")

// messagesOf are command lines that fail, in the order in which they run. DIR
// is a directory with an image, a layer, and the store in use.
var messagesOf = []string{
	"nosuch",
	"rm",
	"ls --nosuch",
	"--driver zfs ls",
	"--log-level loud ls",
	"--root= ls",
	"--root DIR/other ls",
	"--root DIR/demo.tar ls",
	"import DIR/nosuch.tar",
	"import DIR/m",
	"import DIR/layer.tar",
	"import --name !! DIR/demo.tar",
	"import --image x DIR/demo.tar",
	"import --platform a/b/c/d DIR/demo.tar",
	"import --limit entries=0 DIR/demo.tar",
	"info nosuch",
	"changes nosuch",
	"check nosuch",
	"check --after nowhere",
	"prepare work nosuch:1",
	"prepare work work",
	"prepare taken DEMO",
	"prepare taken",
	"prepare @engine/x",
	"prepare --size 1G limited DEMO",
	"prepare --size many limited DEMO",
	"prepare --uidmap 0:1000:1 mapped DEMO",
	"view look taken",
	"commit done nosuch",
	"commit taken taken",
	"apply taken DIR/nosuch.tar",
	"apply taken DIR/m",
	"apply taken DIR/demo.json",
	"apply nosuch DIR/layer.tar",
	"diff --compress xz taken",
	"diff nosuch",
	"--json diff taken",
	"export nosuch DIR/out.tar",
	"export --name !! DEMO DIR/out.tar",
	"export DEMO DIR/none/out.tar",
	"rename nosuch new",
	"rename taken taken",
	"rename taken @engine/x",
	"rm nosuch",
	"rm @engine/x",
	"rmi nosuch",
	"mount nosuch DIR/m",
	"mount DEMO DIR/none",
	"mount DEMO DIR/demo.tar",
	"mount DEMO DIR/store",
	"mount --rw= DEMO DIR/m",
	"mount --size 1G DEMO DIR/m",
	"mount --volatile DEMO DIR/m",
	"umount DIR/m",
	"umount DIR/none",
	"mounts nosuch",
	"repair --rebuild --read-data",
	"repair --rebuild",
	"--read-only prepare another",
	"--read-only gc",
	"--address DIR/nobody ls",
	"serve --address=",
	"serve --log-level loud",
	"serve --config DIR/nosuch.toml",
	"serve --engine bad",
	"bench --suite nosuch",
	"bench --scratch DIR/none",
	"bench compare DIR/demo.tar DIR/demo.tar",
}

// temporary are names that are others each time.
var temporary = regexp.MustCompile(`\.tmp-\d+`)

// This keeps all messages in one file, so that a change of one is read as
// people will read it: what failed, on what, why, and what to do.
func TestMessagesAreAsTheyWereRead(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("not root: other messages say so")
	}
	dir := t.TempDir()
	archive, err := demoImage(runtime.GOARCH)
	require.NoError(t, err)
	layer, err := demoLayers()[1].tar()
	require.NoError(t, err)
	for name, content := range map[string][]byte{"demo.tar": archive, "layer.tar": layer, "demo.json": []byte("{}\n")} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "m"), 0o700))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "other"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "other", "file"), nil, 0o600))
	run := func(args ...string) (code int, out, errs string) {
		var o, e bytes.Buffer
		code = run(t.Context(), streams{In: strings.NewReader(""), Out: &o, Err: &e}, args)
		return code, o.String(), e.String()
	}
	root := filepath.Join(dir, "store")
	code, _, errs := run("--root", root, "--driver", "vfs", "import", filepath.Join(dir, "demo.tar"))
	require.Equal(t, exitDone, code, errs)
	code, _, errs = run("--root", root, "prepare", "taken")
	require.Equal(t, exitDone, code, errs)

	var all strings.Builder
	for _, line := range messagesOf {
		args := strings.Fields(strings.ReplaceAll(strings.ReplaceAll(line, "DEMO", demoRef), "DIR", dir))
		if !strings.Contains(line, "--root") {
			args = append([]string{"--root", root}, args...)
		}
		code, _, errs := run(args...)
		require.NotEqual(t, exitDone, code, line)
		require.Equal(t, 1, strings.Count(errs, "\n"), "%s: %s", line, errs)
		errs = temporary.ReplaceAllString(strings.ReplaceAll(errs, dir, "DIR"), ".tmp-N")
		fmt.Fprintf(&all, "$ snapctl %s\n%d %s", line, code, errs)
	}
	const golden = "testdata/messages.txt"
	if *updateMessages {
		require.NoError(t, os.WriteFile(golden, []byte(all.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), all.String(), "if the new texts are better: go test ./cmd/snapctl -run Messages -update-messages")
}
