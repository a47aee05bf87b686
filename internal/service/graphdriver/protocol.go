package graphdriver

// The requests and responses of the protocol, of which a call uses the fields
// that it needs.

// request is what all calls but Init and ApplyDiff take.
type request struct {
	ID         string
	Parent     string
	MountLabel string
	StorageOpt map[string]string
}

// initRequest is what GraphDriver.Init takes.
type initRequest struct {
	Home    string
	Opts    []string
	UIDMaps []idMap
	GIDMaps []idMap
}

// idMap is a range of ids of a user namespace.
type idMap struct {
	ContainerID int64 `json:"container_id"`
	HostID      int64 `json:"host_id"`
	Size        int64 `json:"size"`
}

// response is what a call gives back.
type response struct {
	Err          string            `json:",omitempty"`
	Implements   []string          `json:",omitempty"`
	Dir          string            `json:",omitempty"`
	Exists       bool              `json:",omitempty"`
	Status       [][2]string       `json:",omitempty"`
	Size         int64             `json:",omitempty"`
	Metadata     map[string]string `json:",omitempty"`
	Capabilities *capabilities     `json:",omitempty"`
}

// capabilities is what Docker may rely on.
type capabilities struct {
	// ReproducesExactDiffs: Diff of a layer gives the very bytes that were applied
	// to it. It gives canonical ones, so Docker has to keep what makes the original
	// out of them.
	ReproducesExactDiffs bool
}

// change is an element of the response of GraphDriver.Changes, which is written
// as it is found, see changeList.
type change struct {
	Path string
	Kind changeKind
}

// changeKind is Docker's number for a kind of change.
type changeKind int

const (
	changeModify changeKind = iota
	changeAdd
	changeDelete
)
