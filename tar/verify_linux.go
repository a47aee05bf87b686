package tar

import (
	stdtar "archive/tar"
	"context"
	"crypto/sha256"
	"io"
	"math"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/attrs"
)

// A verifier is one run of Verify. It implements the effects of a reading: it
// makes no files, and remembers what each file must be.
type verifier struct {
	reading
	readData bool
	findings *collector
	merged   *parentTree // for comparing bodies

	replay *replay // set after the rest of the stream was read ahead

	// lostAt is the number of the last entry for which the parents could not be
	// read.
	lostAt int64

	fromTar, fromFile []byte
}

// A wanted says what one file that is not a directory must be. All names of the
// file share it.
type wanted struct {
	stat   diff.Node // without the fields that depend on the view
	xattrs []wantedXattr
	body   *body // nil if the content is not compared
	linked bool  // the layer gave it a second name
}

// A wantedXattr is an extended attribute, under the name that views show. For a
// long value only a digest is stored, because the values can take much more
// memory than the names.
type wantedXattr struct {
	name, value string
	digest      bool
}

// longValue is the length in bytes up to which a value is stored itself. The
// value of an ACL must be parsed, so it is stored up to longACL bytes, the
// longest that Linux accepts.
const (
	longValue = 256
	longACL   = 64 << 10
)

func keepXattrs(list []attrs.Xattr) []wantedXattr {
	if len(list) == 0 {
		return nil
	}
	kept := make([]wantedXattr, len(list))
	for i, x := range list {
		kept[i] = wantedXattr{name: x.Name, value: x.Value}
		if len(x.Value) > longACL || len(x.Value) > longValue && !isACL(x.Name) {
			kept[i].value, kept[i].digest = digestOf(x.Value), true
		}
	}
	return kept
}

func digestOf(value string) string {
	sum := sha256.Sum256([]byte(value))
	return string(sum[:])
}

func verify(ctx context.Context, layer io.Reader, parents, merged diff.View, opts VerifyOptions) (Verified, error) {
	if err := ctx.Err(); err != nil {
		return Verified{}, err
	}
	algorithm, err := algorithmOf(opts.DiffID)
	if err != nil {
		return Verified{}, err
	}
	findings := &collector{max: opts.MaxFindings}
	if findings.max <= 0 {
		findings.max = defaultFindings
	}
	v := &verifier{readData: opts.ReadData, findings: findings, merged: &parentTree{view: merged}}
	unpackOptions := UnpackOptions{DiffID: opts.DiffID, Limits: opts.Limits, UserNS: opts.UserNS}
	if unpackOptions.Limits.Memory == 0 {
		unpackOptions.Limits.Memory = math.MaxInt64 // see VerifyOptions.Limits
	}
	if parents != nil {
		unpackOptions.Parents = guardedView{parents, v}
	}
	v.reading = newReading(ctx, unpackOptions)
	v.do = v
	defer v.close()
	v.start(layer, algorithm)
	if err := v.readAll(); err != nil {
		return Verified{}, err
	}
	applied, err := v.applied(algorithm)
	if err != nil {
		return Verified{}, err
	}
	c := &comparison{
		ctx: ctx, readData: opts.ReadData, userNS: opts.UserNS, findings: findings, below: &parentTree{view: parents},
		merged: v.merged, links: newFileLinks(), uncertain: &collector{max: findings.max},
	}
	defer c.close()
	if err := c.run(parents, merged, v.root, v.marks); err != nil {
		return Verified{}, err
	}
	return Verified{Applied: applied, Findings: findings.sorted(), Total: findings.total}, nil
}

func (v *verifier) close() {
	v.reading.close()
	v.merged.close()
	blocks.put(v.fromTar)
	blocks.put(v.fromFile)
}

func (v *verifier) next() (*stdtar.Header, error) {
	if v.replay != nil {
		return v.replay.next(v)
	}
	return v.reading.next()
}

// fill records what the file of an entry must be.
func (v *verifier) fill(n *node, _ string, hdr *stdtar.Header, a attributes) (err error) {
	w := &wanted{stat: a.node(), xattrs: keepXattrs(a.Xattrs)}
	n.want = w
	switch hdr.Typeflag {
	case stdtar.TypeSymlink:
		w.stat.Mode |= diff.TypeSymlink
	case stdtar.TypeFifo:
		w.stat.Mode |= diff.TypeFifo
	case stdtar.TypeChar, stdtar.TypeBlock:
		typ, dev := device(hdr)
		w.stat.Mode |= typ
		w.stat.Rdev = dev
	default:
		w.stat.Mode |= diff.TypeRegular
		w.stat.Size = hdr.Size
		if v.readData && hdr.Size > 0 {
			w.body, err = v.readBody(n, hdr.Size)
		}
	}
	return err
}

// node returns the attributes as a diff.Node, without a file type.
func (a *attributes) node() diff.Node {
	return diff.Node{Mode: a.Mode, UID: a.UID, GID: a.GID, Mtime: a.Mtime}
}

// copy records that a file must be as the parents have it. It records nothing
// if the parents could not be read.
func (v *verifier) copy(n *node, p string, from diff.Node, a attributes, _ diff.Dir, _ string) error {
	if v.lostParents() {
		return nil
	}
	n.want = &wanted{stat: from, xattrs: keepXattrs(a.Xattrs)}
	if v.readData && from.IsRegular() && from.Size > 0 {
		n.want.body = &body{parents: p}
	}
	return nil
}

// link records that two names must be one file.
func (v *verifier) link(from, parent *node, base string) error {
	if parent.child(base) == from {
		return nil // a link to itself
	}
	n, err := v.place(parent, base, from.kind)
	if err != nil {
		return err
	}
	v.setTarget(n, from.target)
	n.want = from.want
	if n.want != nil {
		n.want.linked = true
	}
	return nil
}

func (v *verifier) describe(n *node, a *attributes) error {
	n.dir.attrs = a
	return nil
}

func (v *verifier) recall(*node, string) (*node, error) { return nil, nil }

// forget frees nothing, because the nodes are compared only at the end.
func (v *verifier) forget() error { return nil }

func (v *verifier) mkdir(*node) error   { return nil }
func (v *verifier) await(*node) error   { return nil }
func (v *verifier) unlink(*node) error  { return nil }
func (v *verifier) failed() error       { return nil }
func (v *verifier) warn(string, string) {}
func (v *verifier) lostParents() bool   { return v.lostAt == v.entries }
