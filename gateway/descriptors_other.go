//go:build !unix

package gateway

func descriptors() uint64 { return 0 }
