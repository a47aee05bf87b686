package engines

import "testing"

func TestX(t *testing.T) {
	requirements(t, containerd2+"/ctr")
	reg := newRegistry(t)
	img := testImage(t)
	t.Log(img.push(t, reg, "x"))
	s := newService(t, "overlay2")
	for _, tools := range []string{"", containerd2} {
		c := newContainerd(t, tools, proxySnapshotter("layerkeep", s.address))
		t.Log(c.version)
		t.Log(c.ctr(t, "plugins", "ls"))
		t.Log(c.try("images", "pull", "--plain-http", "--snapshotter", "layerkeep", reg+"/x:"+tag))
		t.Log(c.try("snapshots", "--snapshotter", "layerkeep", "ls"))
		t.Log(c.try("images", "rm", "--sync", reg+"/x:"+tag))
		c.requireGone(t)
	}
	s.requireEmpty(t)
}
