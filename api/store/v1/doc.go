// Package storev1 is the API of a store over gRPC, generated from store.proto.
// It is for package client and package service/storeservice; other programs use
// the former.
//
// To generate it anew: protoc 3.21.12 (Debian's protobuf-compiler and
// libprotobuf-dev), protoc-gen-go v1.36.12 and protoc-gen-go-grpc v1.6.2 in the
// PATH, as
//
//	go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
//	go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
//
// put them there.
package storev1

//go:generate protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative store.proto
