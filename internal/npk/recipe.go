// Package npk is the end-user package: the recipe that describes how one is made
// (KDL), the signed manifest and Merkle tree of its files, and the .npk file that
// carries them (FORMAT.md).
//
// Reading never touches the disk, never allocates more than one frame plus what
// was really received, and checks everything that a stranger wrote: whoever gets
// a Head holds clean, unique, sorted names below one directory, symlinks that
// stay there, sizes that add up, content ids that match, and a valid signature.
// Whether the signer is trusted is for the caller to decide. Packing reads a
// staging directory and is deterministic: the same files, recipe, options and
// key give the same bytes.
package npk

import (
	"path/filepath"

	"nipcells/internal/capability"
	"nipcells/internal/cid"
)

// Recipe describes how a package is made and what it asks for. It is the
// parsed form of a KDL recipe (SPEC section 6). Lists that a recipe does not
// have are nil.
type Recipe struct {
	Name     string // [a-z0-9][a-z0-9+.-]*
	Version  string // [A-Za-z0-9][A-Za-z0-9.+~_-]*, no epoch
	Title    string // directory below /Programs; Name where the recipe has none
	Summary  string
	Arch     string // amd64, arm64 or all; empty in a recipe that leaves it to Pack
	Source   string // where the files come from: debian:git=1:2.39.5-0+deb12u3, dir:tool …
	Depends  []string
	Commands []Command
	Pledge   capability.Pledge
	Unveil   []capability.Unveil
	Net      []capability.Net
	Bus      []string
	Budget   capability.Budget
	Env      []EnvVar
	Native   []Native // what packing has put into files, sorted by Path. Only in a manifest
	Dir      string   // directory of the files, relative to the recipe; empty: DefaultFiles. Not in a manifest
	Exclude  []string // patterns of what Pack leaves out of Dir, see ParseRecipe. Not in a manifest
}

// DefaultFiles is the directory beside a recipe that holds the package's files
// where the recipe does not name another.
const DefaultFiles = "files"

// FilesDir returns the directory of the package's files for a recipe that was
// read from the file recipe.
func (r *Recipe) FilesDir(recipe string) string {
	dir := r.Dir
	if dir == "" {
		dir = DefaultFiles
	}
	return filepath.Join(filepath.Dir(recipe), filepath.FromSlash(dir))
}

// Command is a program of a package that a person can run.
type Command struct {
	Name string   // [A-Za-z0-9][A-Za-z0-9+._-]*
	Exec string   // path below the package, bin/git
	Args []string // put before the person's arguments
}

// EnvVar is set for every command. In Value, {prefix} stands for the package's
// directory in the view, {view} for the view, {home} and {tmp} for the cell's.
type EnvVar struct{ Name, Value string }

// Native says what a file has for native views: the shim, by way of which it
// makes its path calls, the stub, with which it begins, or both.
type Native struct {
	Path       string
	Shim, Stub bool
}

// Manifest is the signed head of a package.
type Manifest struct {
	Recipe
	Variant cid.CID // hash over source hash, build flags, architecture, dependency CIDs
	Tree    cid.CID // Merkle root of the files
	Size    int64   // bytes of all files, each distinct content once
	Files   int     // entries of kind File
	KDL     []byte  // the recipe's canonical text
}

// Kind says what an Entry is.
type Kind uint8

// The kinds of entry. Nothing else can be in a package.
const (
	Dir Kind = iota + 1
	File
	Symlink
)

// Entry is one name in a package's tree. Directories come before what they hold.
type Entry struct {
	Path   string // relative, clean, slash-separated, no "." or ".."
	Kind   Kind
	Exec   bool    // File: mode 0555 instead of 0444
	Size   int64   // File: bytes, before location
	CID    cid.CID // File: content id with the interpreter field zeroed
	Interp cid.CID // File: content id of the loader, if it has an interpreter field
	Target string  // Symlink: relative, stays inside the tree
	Chunks []Chunk // File: its bytes in order
}

// Chunk is a piece of a file as content-defined chunking cut it.
type Chunk struct {
	CID  cid.CID
	Size uint32 // bytes
}
