package drivertest

import (
	"github.com/layerkeep/layerkeep/driver"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// mappedFaultOps are operations on layers whose mounts have mapped IDs.
func (s *suite) mappedFaultOps() []faultOp {
	if !s.props.Idmap {
		return nil
	}
	mapped := driver.CreateOptions{IDMap: idMap()}
	ops := []faultOp{
		{name: "create a mapped layer", prepare: mappedRoot, run: createOp(mapped, "list", "mid", "base")},
		{name: "create a mapped view", prepare: nothing, run: createOp(driver.CreateOptions{View: true, IDMap: idMap()}, faultChain...)},
	}
	if !s.can.mounts || !s.props.MountsWritable {
		return ops
	}
	return append(ops,
		faultOp{name: "mount a mapped layer", prepare: mappedLayer, run: mountedOp(faultID, driver.MountOptions{Volatile: true})},
		faultOp{name: "diff of a mapped layer", prepare: mappedLayer, run: diffOp},
		faultOp{name: "view of a mapped layer", prepare: mappedLayer, run: viewOp},
		faultOp{name: "usage of a mapped layer", prepare: mappedLayer, run: usageOp},
		faultOp{name: "seal a mapped layer", prepare: mappedLayer, run: sealOp, resumes: driver.ErrSealed, whole: true},
	)
}

// mappedRoot makes a parent whose root directory has an access control list.
func mappedRoot(st *store) {
	st.layer("list", faultChain, Dir("./").WithXattr(accessList, acl(aclUser, aclGroup)))
}

// mappedLayer makes the layer as one that a container with mapped IDs wrote to,
// with everything that has IDs in it.
func mappedLayer(st *store) {
	st.createMapped(faultID, driver.CreateOptions{}, faultChain...)
	st.mounted(faultID, driver.MountOptions{}, func(root string) error { return inContainer(st.t, idMap(), root, mappedScript) })
	edits := []Edit{SetXattr("d/x", accessList, acl(hostACLUser, hostACLGroup)), SetXattr("made/n", capabilityOfFile, hostCapability)}
	for _, p := range []string{"d/x", "made/n", "made/s", "made", "."} {
		edits = append(edits, Touch(p, EditTime))
	}
	st.edit(faultID, edits...)
}

// mappedScript is what the container did. Host and container give different
// owners the same numbers.
const mappedScript = `set -e; umask 022
printf ! >>d/x; chown 7:7 d/x
mkdir made; printf n >made/n; chown 1:1 made/n; chmod 4711 made/n; ln -s n made/s; chown -h 1002:2 made/s; chown 1001:1001 made
rm file
`
