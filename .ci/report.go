// Command report reads the output of "go test -json" and writes what people want of it:
// a line for each package, all that a failed test said, and at the end the tests that
// were skipped, with the reason of each. It fails when a test did.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

func main() {
	said := map[[2]string][]string{} // by package and test
	built := map[string][]string{}
	skipped := map[string][]string{} // by reason
	failed, tests := false, 0
	var again []string              // the packages that failed, and what to run of each
	broken := map[string][]string{} // tests that failed, by package
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		if json.Unmarshal(line, &e) != nil {
			os.Stdout.Write(line) // of go itself
		}
		key := [2]string{e.Package, e.Test}
		switch e.Action {
		case "output":
			said[key] = append(said[key], e.Output)
		case "build-output":
			built[e.ImportPath] = append(built[e.ImportPath], e.Output)
		case "build-fail":
			failed = true
			fmt.Print(strings.Join(built[e.ImportPath], ""))
		case "pass":
			if e.Test == "" {
				fmt.Printf("ok    %6.1fs  %s\n", e.Elapsed, e.Package)
			} else {
				tests++
			}
			delete(said, key)
		case "skip":
			if e.Test != "" {
				why := reason(said[key])
				skipped[why] = append(skipped[why], short(e.Package)+"."+e.Test)
			}
			delete(said, key)
		case "fail":
			failed = true
			if e.Test == "" {
				fmt.Printf("FAIL  %6.1fs  %s\n", e.Elapsed, e.Package)
				again = append(again, e.Package+" "+pattern(broken[e.Package]))
			} else if !strings.Contains(e.Test, "/") {
				broken[e.Package] = append(broken[e.Package], e.Test)
			}
			fmt.Print(strings.Join(said[key], ""))
			delete(said, key)
		}
		if err != nil {
			break
		}
	}
	fmt.Printf("%d tests passed\n", tests)
	for _, why := range slices.Sorted(maps.Keys(skipped)) {
		fmt.Printf("skipped: %s\n", why)
		for _, name := range skipped[why] {
			fmt.Printf("         %s\n", name)
		}
	}
	if failed || tests == 0 {
		if len(os.Args) > 1 { // a file for the packages that failed, and the tests of each
			if err := os.WriteFile(os.Args[1], []byte(strings.Join(append(again, ""), "\n")), 0o600); err != nil {
				fmt.Println(err)
			}
		}
		os.Exit(1)
	}
}

// pattern selects the tests that failed, or all where the package ended before one did.
func pattern(tests []string) string {
	if len(tests) == 0 {
		return "."
	}
	return "^(" + strings.Join(tests, "|") + ")$"
}

// reason is what a test said when it skipped, without the place.
func reason(said []string) string {
	for _, line := range slices.Backward(said) {
		_, text, ok := strings.Cut(strings.TrimSpace(line), ".go:")
		if !ok {
			continue
		}
		if _, text, ok = strings.Cut(text, ": "); ok {
			return text
		}
	}
	return "no reason given"
}

func short(path string) string {
	if _, rest, ok := strings.Cut(path, "wsticket/wsticket"); ok {
		return "." + rest
	}
	return path
}
