package npk

import (
	"nipcells/internal/capability"
	"nipcells/internal/cid"
)

// Recipe describes how a package is made and what it asks for. It is the
// parsed form of a KDL recipe (SPEC section 6).
type Recipe struct {
	Name     string // [a-z0-9][a-z0-9+.-]*
	Version  string // [A-Za-z0-9][A-Za-z0-9.+~_-]*, no epoch
	Title    string // directory below /Programs; Name where the recipe has none
	Summary  string
	Arch     string // amd64, arm64 or all
	Source   string // where the files come from: debian:git=1:2.39.5-0+deb12u3, dir:tool …
	Depends  []string
	Commands []Command
	Pledge   capability.Pledge
	Unveil   []capability.Unveil
	Bus      []string
	Budget   capability.Budget
	Env      []EnvVar
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
