package graft

import (
	"bytes"
	"fmt"
	"path"
	"strings"
)

// PackageFD is the descriptor at which a program that was patched by
// compiledPaths expects its package's directory (O_PATH is enough), from its
// first instruction on.
const PackageFD = 40

// compiledPath is a directory that a library has compiled in and that no
// environment variable can move, though the program does not start without it.
type compiledPath struct {
	soname string // the library's name begins so
	dir    string // what is compiled in, with a slash at its end
	short  string // directory in the tree for short names of the same files
}

// compiledPaths is the table of such directories.
//
//	libnode: Debian's Node.js reads some of its own modules (acorn, undici, …)
//	from /usr/share/nodejs when it starts and aborts if one is missing.
func compiledPaths() []compiledPath {
	return []compiledPath{{"libnode.so.", "/usr/share/nodejs/", "lib/node"}}
}

// patchCompiled replaces compiled-in names of files by ones that lead through
// descriptor PackageFD, in place. A package does not know where it will be
// installed, so a longer name has no room; /proc/self/fd/N is an absolute name
// that is the same everywhere. The new name must not be longer than the old,
// so it goes through a short link: lib/node/0.js.
func (g *grafting) patchCompiled(f *elfFile, data []byte) error {
	for _, c := range compiledPaths() {
		if !strings.HasPrefix(f.soname, c.soname) {
			continue
		}
		for n, at := 0, 0; ; n++ {
			i := bytes.Index(data[at:], []byte(c.dir))
			if i < 0 {
				break
			}
			at += i
			end := bytes.IndexByte(data[at:], 0)
			if end < 0 {
				break
			}
			old := data[at : at+end]
			at += end
			target, ok := rootPlace(string(old))
			if !ok || !g.tree.exists(target) {
				continue
			}
			link := fmt.Sprintf("%s/%d%s", c.short, n, path.Ext(target))
			name := fmt.Sprintf("/proc/self/fd/%d/%s", PackageFD, link)
			if len(name) > len(old) {
				g.tree.notes.add("compiled-in names that have no room for a change", target)
				continue
			}
			if err := g.tree.symlink(link, relative(path.Dir(link), target), g.tree.owner[f.name]); err != nil {
				return err
			}
			clear(old)
			copy(old, name)
		}
	}
	return nil
}
