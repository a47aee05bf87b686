package metrics

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/layerkeep/layerkeep/snapshotter"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// Watch adds what the store holds to the metrics, and names its driver in those
// of operations. The error is that of a second store.
func (m *Metrics) Watch(store *snapshotter.Snapshotter) error {
	name := store.Driver().Name()
	if err := m.registry.Register(newContents(store.DB(), name)); err != nil {
		return fmt.Errorf("metrics of the store %s: %w", store.Root(), err)
	}
	m.driver.Store(name)
	return nil
}

// contents reads what a store holds from its metadata.
type contents struct {
	db                   viewer
	driver               string
	count, bytes, inodes *prometheus.Desc
}

// viewer is the part of [meta.DB] that a scrape needs.
type viewer interface {
	View(fn func(*meta.Tx) error) error
}

func newContents(db viewer, driver string) *contents {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help,
			[]string{"scope", "kind"}, prometheus.Labels{"driver": driver})
	}
	return &contents{
		db: db, driver: driver,
		count:  desc("snapshots", "Snapshots in the store; the scope says whose they are, and is empty for those of snapctl."),
		bytes:  desc("snapshot_bytes", "What snapshots take on disk, as known: only of committed ones."),
		inodes: desc("snapshot_inodes", "Inodes that snapshots take, as known: only of committed ones."),
	}
}

// Describe implements [prometheus.Collector].
func (c *contents) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.count
	ch <- c.bytes
	ch <- c.inodes
}

// part is a part of the store that is summed up.
type part struct {
	scope string
	kind  meta.Kind
}

// sum is what a part holds.
type sum struct{ count, bytes, inodes int64 }

// Collect implements [prometheus.Collector].
func (c *contents) Collect(ch chan<- prometheus.Metric) {
	sums, err := c.read()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.count, err)
		return
	}
	gauge := func(desc *prometheus.Desc, value int64, p part) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), p.scope, string(p.kind))
	}
	for p, s := range sums {
		gauge(c.count, s.count, p)
		if p.kind == meta.Committed {
			gauge(c.bytes, s.bytes, p)
			gauge(c.inodes, s.inodes, p)
		}
	}
}

// read sums up the snapshots; every kind is there, also without any.
func (c *contents) read() (map[part]sum, error) {
	sums := map[part]sum{}
	add := func(scope string) {
		for _, kind := range []meta.Kind{meta.Active, meta.View, meta.Committed} {
			sums[part{scope, kind}] = sum{}
		}
	}
	add("")
	err := c.db.View(func(tx *meta.Tx) error {
		return tx.WalkSnapshots(func(row meta.Snapshot) error {
			if row.State != meta.Ready {
				return nil
			}
			scope, _ := snapshotter.ScopeOf(row.Name)
			p := part{scope, row.Kind}
			if _, ok := sums[p]; !ok {
				add(scope)
			}
			s := sums[p]
			sums[p] = sum{s.count + 1, s.bytes + row.Usage.Bytes, s.inodes + row.Usage.Inodes}
			return nil
		})
	})
	return sums, err
}
