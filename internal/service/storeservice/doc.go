// Package storeservice serves an open store, with its images and with the notes
// that snapctl makes of its mounts, over gRPC: the service Store of package
// storev1, for package client. It opens no file that a client names, and mounts
// nothing: clients send what is to be read, and mount themselves.
package storeservice
