// Package service offers an open store to other processes: to engines as a
// containerd snapshotter and differ and as a Docker graph driver, to snapctl as
// the store itself. It has the endpoints' life cycle (sockets, readiness, the
// graceful stop); what each endpoint does lies in the packages below it.
package service
