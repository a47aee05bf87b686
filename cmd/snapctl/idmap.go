package main

import (
	"fmt"
	"maps"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/mount"
)

// idMapFlags are the values of --uidmap and --gidmap.
type idMapFlags struct{ uids, gids []string }

const idMapLong = `With --uidmap and --gidmap, files appear in its mounts with the owners that they
have for the host of a container in a user namespace: CONTAINER:HOST:SIZE says that
SIZE ids from HOST stand for those from CONTAINER. What the snapshot holds, its
diffs and what is committed have the container's ids. Not every kernel and file
system can; 'snapctl version' says.`

// addIDMapFlags adds --uidmap and --gidmap to a command.
func addIDMapFlags(cmd *cobra.Command, ids *idMapFlags) {
	cmd.Flags().StringSliceVar(&ids.uids, "uidmap", nil, "map the user ids `CONTAINER:HOST:SIZE` of the new snapshot's mounts; may be repeated")
	cmd.Flags().StringSliceVar(&ids.gids, "gidmap", nil, "map the group ids `CONTAINER:HOST:SIZE`; may be repeated")
	completeFlag(cmd, "uidmap", cobra.NoFileCompletions)
	completeFlag(cmd, "gidmap", cobra.NoFileCompletions)
}

func (ids idMapFlags) given() bool { return len(ids.uids)+len(ids.gids) > 0 }

func (ids idMapFlags) texts() (uids, gids string) {
	return strings.Join(ids.uids, ","), strings.Join(ids.gids, ",")
}

// check returns an error when the flags are no map.
func (ids idMapFlags) check(command string) error {
	if !ids.given() {
		return nil
	}
	if len(ids.uids) == 0 || len(ids.gids) == 0 {
		return usagef("%s: --uidmap and --gidmap must be given together", command)
	}
	if _, err := mount.ParseIDMap(ids.texts()); err != nil {
		return usagef("%s: %v", command, err)
	}
	return nil
}

// label adds the map to the labels of a new snapshot.
func (ids idMapFlags) label(labels map[string]string) map[string]string {
	if !ids.given() {
		return labels
	}
	labels = maps.Clone(labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[snapshots.LabelSnapshotUIDMapping], labels[snapshots.LabelSnapshotGIDMapping] = ids.texts()
	return labels
}

// checkIDMap says, before anything is made, that the store cannot map IDs.
func (st *store) checkIDMap(ids idMapFlags) error {
	if !ids.given() || st.Properties().Idmap {
		return nil
	}
	return advise(fmt.Errorf("%w: the %s backend cannot map the ids of a snapshot here", driver.ErrUnsupported, st.DriverName()),
		"it takes root, Linux 5.12 (overlay2: 5.19) and a file system that knows idmapped mounts; 'snapctl version' says what each backend can")
}
