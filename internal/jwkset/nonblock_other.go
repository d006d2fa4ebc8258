//go:build !unix

package jwkset

// nonBlock is nothing where a file system has no pipes that an open waits for.
const nonBlock = 0
