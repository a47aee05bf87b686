package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// jsonExamples returns the example in the long help of each command that has
// one.
func jsonExamples(t *testing.T) map[string]string {
	t.Helper()
	examples := map[string]string{}
	for _, c := range newRootCommand(streams{}).Commands() {
		_, example, found := strings.Cut(c.Long, "With --json it prints one object:\n")
		if found {
			examples[c.Name()] = strings.ReplaceAll(strings.TrimPrefix(example, "  "), "\n  ", "\n")
		}
	}
	return examples
}

func TestEveryCommandOfTheContractDocumentsItsObject(t *testing.T) {
	want := []string{
		"import", "images", "rmi", "mount", "umount", "prepare", "view", "commit", "rename", "rm", "ls", "tree", "info",
		"usage", "mounts", "apply", "diff", "changes", "export", "gc", "check", "repair", "version", "demo", "bench",
	}
	got := slices.Collect(maps.Keys(jsonExamples(t)))
	require.ElementsMatch(t, want, got)
}

func TestTheDocumentOfJSONHoldsEveryExample(t *testing.T) {
	page, err := os.ReadFile("../../docs/json.md")
	require.NoError(t, err)
	for name, example := range jsonExamples(t) {
		section := "## " + name + "\n"
		require.Contains(t, string(page), section)
		_, rest, _ := strings.Cut(string(page), section)
		body, _, _ := strings.Cut(rest, "\n## ")
		require.Contains(t, body, "```json\n"+example+"\n```", "section %s", name)
		for _, path := range shapeOf(t, example) {
			field, _, _ := strings.Cut(path, ":")
			field = field[strings.LastIndexAny(field, ".]")+1:]
			if field != "" && !strings.HasPrefix(path, ".labels.") {
				require.Contains(t, body, "`"+field+"`", "section %s explains the field", name)
			}
		}
	}
}

// shapeOf lists the fields of a JSON text with their types.
func shapeOf(t *testing.T, text string) []string {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal([]byte(text), &v), text)
	fields := map[string]bool{}
	addShape(fields, "", v)
	return slices.Sorted(maps.Keys(fields))
}

func addShape(fields map[string]bool, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if strings.HasSuffix(path, ".labels") {
				key = "KEY"
			}
			addShape(fields, path+"."+key, value)
		}
	case []any:
		fields[path+": list"] = true
		for _, item := range v {
			addShape(fields, strings.ReplaceAll(path, ".children[]", "")+"[]", item)
		}
	default:
		fields[fmt.Sprintf("%s: %T", path, v)] = true
	}
}

// story runs every command once, in an order in which each has something to
// say.
func story(dir string) [][]string {
	in := func(name string) string { return filepath.Join(dir, name) }
	return [][]string{
		{"import", in("demo.tar")},
		{"images"},
		{"prepare", "early", demoRef},
		{"view", "look", demoRef},
		{"mount", "--rw", "work", demoRef, in("m")},
		{"tree"},
		{"ls"},
		{"info", "work"},
		{"usage"},
		{"mounts", "work"},
		{"umount", in("m")},
		{"apply", "work", in("layer.tar")},
		{"changes", "work"},
		{"diff", "-o", in("out.tar"), "work"},
		{"commit", "done", "work"},
		{"export", "--name", "changed:1", "done", in("image.tar")},
		{"rename", "early", "later"},
		{"check"},
		{"repair", "--rebuild"},
		{"rm", "done", "later", "look"},
		{"rmi", demoRef},
		{"gc"},
		{"version"},
		{"demo"},
		{"bench", "--quick", "--fs", "tmpfs", "--drivers", "vfs", "--suite", "inodes", "--scratch", dir},
	}
}

func TestEveryCommandPrintsTheObjectThatIsDocumented(t *testing.T) {
	if !canMount() {
		t.Skip("needs root or a user namespace")
	}
	dir := t.TempDir()
	archive, err := demoImage(runtime.GOARCH)
	require.NoError(t, err)
	layer, err := demoLayers()[1].tar()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "demo.tar"), archive, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "layer.tar"), layer, 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "m"), 0o700))
	t.Cleanup(func() { unmountBelow(dir) })
	examples := jsonExamples(t)
	for _, args := range story(dir) {
		code := exitDone
		if args[0] == "check" { // which has more to tell of damage
			loseBlob(t, filepath.Join(dir, "store"))
			code = exitDamaged
		}
		if args[0] == "repair" {
			require.NoError(t, os.Truncate(filepath.Join(dir, "store", "meta.db"), 0))
		}
		out := runJSON(t, filepath.Join(dir, "store"), args, code)
		require.NotEmpty(t, examples[args[0]], args[0])
		requireShape(t, shapeOf(t, examples[args[0]]), shapeOf(t, out), args[0])
		delete(examples, args[0])
	}
	require.Empty(t, examples, "commands that the story leaves out")
}

// loseBlob removes the largest blob of the images of a store, which is a layer.
func loseBlob(t *testing.T, root string) {
	t.Helper()
	blobs, err := filepath.Glob(filepath.Join(root, "content/blobs/sha256/*"))
	require.NoError(t, err)
	largest := slices.MaxFunc(blobs, func(a, b string) int { return int(sizeOf(t, a) - sizeOf(t, b)) })
	require.NoError(t, os.Remove(largest))
}

func sizeOf(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Size()
}

func runJSON(t *testing.T, root string, args []string, want int) string {
	t.Helper()
	var out, errs bytes.Buffer
	s := streams{In: strings.NewReader(""), Out: &out, Err: &errs}
	code := run(t.Context(), s, append([]string{"--root", root, "--json"}, args...))
	require.Equal(t, want, code, "%v: %s", args, errs.String())
	dec := json.NewDecoder(&out)
	var object map[string]any
	require.NoError(t, dec.Decode(&object), args)
	require.False(t, dec.More(), "%v prints more than one object", args)
	raw, err := json.Marshal(object)
	require.NoError(t, err)
	return string(raw)
}

// requireShape wants all documented fields but those in empty lists, and no
// other.
func requireShape(t *testing.T, want, got []string, command string) {
	t.Helper()
	require.Subset(t, want, got, command)
	for _, field := range want {
		inside := strings.LastIndex(field, "[]")
		if strings.Contains(field, ".labels.") {
			continue
		}
		if inside >= 0 && !slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, field[:inside+2]) }) {
			continue
		}
		require.Contains(t, got, field, command)
	}
}

func TestErrorsLeaveStandardOutputEmptyWithJSON(t *testing.T) {
	var out, errs bytes.Buffer
	code := run(t.Context(), streams{Out: &out, Err: &errs}, []string{"--json", "ls", "extra"})
	require.Equal(t, exitUsage, code)
	require.Empty(t, out.String())
	require.Equal(t, 1, strings.Count(errs.String(), "\n"))
}

func TestEveryVisibleCommandCompletesItsArguments(t *testing.T) {
	for _, c := range newRootCommand(streams{}).Commands() {
		if c.Hidden || c.Name() == "completion" || c.Name() == "import" || c.Name() == "gc" || c.Name() == "version" {
			continue
		}
		require.NotNil(t, cobra.CompletionFunc(c.ValidArgsFunction), c.Name())
	}
}
