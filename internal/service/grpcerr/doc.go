// Package grpcerr carries errors through gRPC: every error gets the status code
// that engines expect, and for clients of ours, which ask for it, also the
// names of the sentinel errors that it matches, so that errors.Is holds on
// their side as it does in the server, with the same text.
//
// A server uses the interceptors, a client [DialOptions]. The names travel in
// details of the status, google.rpc.ErrorInfo of the domain "layerkeep", and
// only to who asks: engines print details that they do not know.
package grpcerr
