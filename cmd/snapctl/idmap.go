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

const idMapLong = `--uidmap and --gidmap are for a container in a user namespace. They translate the
owners of files in the mounts of the snapshot: with CONTAINER:HOST:SIZE the SIZE ids
from CONTAINER appear as the ids from HOST. For example, 0:100000:65536 shows a file
of root as a file of user 100000. Only mounts are translated: the snapshot itself, its
diffs and its commits have the ids of the container. Not every kernel and file system
can do this; 'snapctl version' says whether yours can.`

// addIDMapFlags adds --uidmap and --gidmap to a command.
func addIDMapFlags(cmd *cobra.Command, ids *idMapFlags) {
	cmd.Flags().StringSliceVar(&ids.uids, "uidmap", nil, "map user ids in mounts of the new snapshot, as `CONTAINER:HOST:SIZE` (may be repeated)")
	cmd.Flags().StringSliceVar(&ids.gids, "gidmap", nil, "map group ids, as `CONTAINER:HOST:SIZE` (may be repeated)")
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
