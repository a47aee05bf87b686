// Package metrics tells Prometheus what a store does and holds. It counts what
// a [snapshotter.Observer] and the servers' interceptors are told, and reads
// what the store holds from its metadata when it is scraped, so a scrape walks
// no layer. It opens no socket: who serves [Metrics.Handler] decides where.
//
//	m := metrics.New(metrics.Build{Version: "v1.2.3"})
//	store, err := snapshotter.Open(ctx, root, snapshotter.Options{Observer: m.Observe})
//	err = m.Watch(store)
//	server := grpc.NewServer(grpc.ChainUnaryInterceptor(m.Unary), grpc.ChainStreamInterceptor(m.Stream))
//	mux.Handle("GET /metrics", m.Handler())
//
// The names are those of docs/metrics.md, which a test holds to the code.
package metrics
