// Package interop holds the tests that need more than the module itself does:
// other libraries, other programs, a browser.
package interop
