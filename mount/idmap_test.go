package mount

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAMapOfIDsIsReadAndWrittenInOneForm(t *testing.T) {
	uids, gids := "0:1000:1,1:100000:65535", "0:100:10"
	m, err := ParseIDMap(uids, gids)
	require.NoError(t, err)
	require.Equal(t, IDMap{UIDs: []IDRange{{0, 1000, 1}, {1, 100000, 65535}}, GIDs: []IDRange{{0, 100, 10}}}, m)
	u, g := m.Texts()
	require.Equal(t, []string{uids, gids}, []string{u, g})
}

func TestWhatIsNoMapOfIDsIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                     "",
		"two numbers":                 "0:1",
		"four numbers":                "0:1:2:3",
		"a sign":                      "0:-1:2",
		"a space":                     "0: 1:2",
		"no number":                   "0:x:2",
		"more than 32 bits":           "0:4294967296:1",
		"the ID that is none":         "0:4294967295:1",
		"past the greatest ID":        "0:4294967290:6",
		"no IDs":                      "0:1000:0",
		"no root":                     "1:1000:10",
		"a comma too many":            "0:1000:10,",
		"an overlap of the container": "0:1000:10,9:2000:5",
		"an overlap of the host":      "0:1000:10,10:1009:5",
		"the same twice":              "0:1000:10,0:1000:10",
		"too many ranges":             "0:1:1" + strings.Repeat(",0:1:1", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseIDMap(text, "0:1000:10")
			require.ErrorIs(t, err, ErrIDMap)
			_, err = ParseIDMap("0:1000:10", text)
			require.ErrorIs(t, err, ErrIDMap)
		})
	}
	_, err := ParseIDMap("0:4294967289:6", "4294967294:0:1,0:1:1")
	require.NoError(t, err, "up to the greatest ID")
}

func TestIDsAreMappedBothWays(t *testing.T) {
	m, err := ParseIDMap("0:1000:1,1:100000:65535", "0:100:10")
	require.NoError(t, err)
	for container, host := range map[[2]uint32][2]uint32{
		{0, 0}: {1000, 100}, {1, 9}: {100000, 109}, {65535, 3}: {165534, 103},
	} {
		u, g, err := m.ToHost(container[0], container[1])
		require.NoError(t, err)
		require.Equal(t, host, [2]uint32{u, g})
		u, g, err = m.ToContainer(host[0], host[1])
		require.NoError(t, err)
		require.Equal(t, container, [2]uint32{u, g})
	}
	for _, ids := range [][2]uint32{{65536, 0}, {0, 10}} {
		_, _, err := m.ToHost(ids[0], ids[1])
		require.ErrorIs(t, err, ErrUnmapped)
	}
	for _, ids := range [][2]uint32{{0, 100}, {1001, 100}, {1000, 99}, {165535, 100}} {
		_, _, err := m.ToContainer(ids[0], ids[1])
		require.ErrorIs(t, err, ErrUnmapped)
	}
}

func TestAMapOfIDsIsSaidInTheWordsOfEachReader(t *testing.T) {
	m := Mount{Type: "bind", Source: "/a", IDMap: &IDMap{UIDs: []IDRange{{0, 1000, 1}, {1, 2000, 5}}, GIDs: []IDRange{{0, 7, 8}}}}
	require.Equal(t, []string{"bind", "rw", "uidmap=0:1000:1,1:2000:5", "gidmap=0:7:8"}, m.Strings())
	require.Equal(t, "mount -o 'bind,rw,X-mount.idmap=u:0:1000:1 u:1:2000:5 g:0:7:8' /a /b", m.Command("/b"))
	m.Type, m.Overlay = "overlay", &Overlay{Lower: []string{"/a"}}
	require.Contains(t, m.Command("/b"), "false ")
}
