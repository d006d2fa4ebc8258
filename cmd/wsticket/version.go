package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

func version(e *env, f *flags) error {
	if ok, err := f.parse(e, 0); !ok {
		return err
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	_, err := fmt.Fprintln(e.stdout, versionLine(info))
	return err
}

// versionLine says which source the program was built from, as far as the build knew.
func versionLine(info *debug.BuildInfo) string {
	line := "wsticket " + info.Main.Version
	if info.Main.Version == "" {
		line += "(unknown version)"
	}
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if commit := settings["vcs.revision"]; commit != "" {
		words := []string{"commit " + commit[:min(len(commit), 12)]}
		if at := settings["vcs.time"]; at != "" {
			words = append(words, at)
		}
		if settings["vcs.modified"] == "true" {
			words = append(words, "with changes")
		}
		line += " (" + strings.Join(words, ", ") + ")"
	}
	return fmt.Sprintf("%s, ticket format 1, %s %s/%s", line, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
