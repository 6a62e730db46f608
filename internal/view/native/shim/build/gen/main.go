// Command gen compiles the shim and the stub for every machine and writes them,
// the header that they are compiled with and the compilers' versions to a
// directory (the first argument; that of the package by default). Run it in
// internal/view/shim.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"nipcells/internal/view/native/shim/build"
)

func main() {
	out := "."
	if len(os.Args) > 1 {
		out = os.Args[1]
	}
	if err := run(out); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(out string) error {
	for arch := range build.Compilers() {
		for piece := range build.Pieces(arch) {
			code, err := build.Compile("src", arch, piece)
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(out, piece+"_"+arch+".bin"), code, 0o644); err != nil {
				return err
			}
		}
		version, err := build.CompilerVersion(arch)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(out, "compiler_"+arch+".txt"), []byte(version+"\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}
