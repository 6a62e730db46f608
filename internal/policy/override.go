package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"nipcells/internal/capability"
	"nipcells/internal/hier"
	"nipcells/internal/ledger"
	"nipcells/internal/npk/kdl"
)

// All stands for all packages where else the name of one is written. No package
// is called so.
const All = "*"

// ErrTooLong reports overrides that no record of the ledger has room for.
var ErrTooLong = errors.New("too many paths are decided on")

// ErrNotText reports a path that no file of overrides can hold.
var ErrNotText = errors.New("a path is not text in UTF-8")

// maxText is how long overrides may be as one line, in bytes.
const maxText = 16 << 10

// file is where the overrides of a package, or of All, are kept.
func file(root *hier.Root, name string) string {
	if name == All {
		name = ""
	}
	return root.Overrides(name)
}

// Override reads what the person has decided about a package, or about All.
//
//	pledge "INET" "-EXEC"       // given, taken
//	unveil "/srv" "rw"          // added
//	limit "/home" "r"           // no more than this there and below; "" is nothing
//	net "example.org:443"       // the rules for the network instead of the package's
//	budget memory="256M"
//
// A missing file decides nothing.
func Override(root *hier.Root, name string) (capability.Override, error) {
	path := file(root, name)
	src, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return capability.Override{}, nil
	}
	if err != nil {
		return capability.Override{}, fmt.Errorf("read overrides: %w", err)
	}
	return parseOverride(path, src)
}

func parseOverride(file string, src []byte) (o capability.Override, err error) {
	err = eachNode(file, src, func(n *kdl.Node) error {
		switch n.Name {
		case "pledge":
			words, err := pledgeWords(n)
			if err != nil {
				return err
			}
			return o.SetPledge(words)
		case "unveil", "limit":
			return overridePath(&o, n)
		case "net":
			list, err := netNode(o.Net, n)
			o.Net = capability.NormalizeNets(list)
			return err
		case "budget":
			b, err := budgetNode(n)
			o.SetBudget(b)
			return err
		}
		return fmt.Errorf("unknown node %s: overrides have pledge, unveil, limit, net and budget", n.Name)
	})
	return o, err
}

func overridePath(o *capability.Override, n *kdl.Node) error {
	path, letters, err := pathNode(n)
	if err != nil {
		return err
	}
	u := capability.Unveil{Path: path}
	if letters != "" || n.Name == "unveil" {
		if u.Rights, err = capability.ParseRights(letters); err != nil {
			return err
		}
	}
	switch {
	case o.ClearPath(path):
		return fmt.Errorf("second word about %s", path)
	case n.Name == "unveil":
		o.SetUnveil(u)
	default:
		o.SetLimit(u)
	}
	return nil
}

// write returns the text that parseOverride reads.
func write(o capability.Override) []byte {
	var b strings.Builder
	b.WriteString("// Written by nip policy.\n")
	line := func(name string, args ...string) {
		b.WriteString(name)
		for _, a := range args {
			b.WriteString(" " + kdl.Quote(a))
		}
		b.WriteByte('\n')
	}
	if words := o.PledgeWords(); len(words) > 0 {
		line("pledge", words...)
	}
	for _, u := range o.Unveil {
		line("unveil", u.Path, u.Rights.String())
	}
	for _, u := range o.Limit {
		line("limit", u.Path, u.Rights.String())
	}
	for _, n := range o.Net {
		line("net", n.String())
	}
	if items := o.Budget.String(); items != "" {
		b.WriteString("budget")
		for item := range strings.SplitSeq(items, ",") {
			key, value, _ := strings.Cut(item, "=")
			b.WriteString(" " + key + "=" + kdl.Quote(value))
		}
		b.WriteByte('\n')
	}
	return []byte(b.String())
}

// Layers returns the overrides that bear on a package, in the order in which
// they count: those of the first root for all packages, then for this one, then
// those of the next root.
func Layers(name string, roots ...*hier.Root) ([]capability.Override, error) {
	var layers []capability.Override
	for _, r := range roots {
		for _, n := range []string{All, name} {
			o, err := Override(r, n)
			if err != nil {
				return nil, err
			}
			layers = append(layers, o)
		}
	}
	return layers, nil
}

// Files returns the files that Layers reads.
func Files(name string, roots ...*hier.Root) (paths []string) {
	for _, r := range roots {
		paths = append(paths, file(r, All), file(r, name))
	}
	return paths
}

// Names returns what there are overrides for, All first, then packages by name.
func Names(root *hier.Root) (names []string, err error) {
	if _, err := os.Lstat(file(root, All)); err == nil {
		names = append(names, All)
	}
	list, err := os.ReadDir(root.Join("Nexus/overrides"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list overrides: %w", err)
	}
	for _, e := range list {
		name, ok := strings.CutSuffix(e.Name(), ".kdl")
		if ok && hier.Component(name) == nil {
			names = append(names, name)
		}
	}
	return names, nil
}

// Change changes what is decided about a package, or about All: edit gets what
// there is. The ledger has it before it holds, and a crash leaves the old or the
// new. Cells that run already keep what they were started with. Change reports
// whether edit has changed anything.
func Change(ctx context.Context, root *hier.Root, name string, edit func(*capability.Override) error) (changed bool, err error) {
	l, err := root.Lock(ctx, hier.LockPackages, true)
	if err != nil {
		return false, err
	}
	defer l.Unlock()
	o, err := Override(root, name)
	if err != nil {
		return false, err
	}
	before := o.String()
	if err := edit(&o); err != nil {
		return false, err
	}
	after := o.String()
	if after == before {
		return false, nil
	}
	if len(after) > maxText {
		return false, fmt.Errorf("decide about %s: %w", name, ErrTooLong)
	}
	if back, err := parseOverride(file(root, name), write(o)); err != nil || back.String() != after {
		return false, fmt.Errorf("decide about %s: %w", name, errors.Join(ErrNotText, err))
	}
	if err := keep(root, name, o); err != nil {
		return false, fmt.Errorf("decide about %s: %w", name, err)
	}
	return true, nil
}

// keep puts overrides in their place.
func keep(root *hier.Root, name string, o capability.Override) error {
	if err := root.Make("Nexus/overrides"); err != nil {
		return err
	}
	// 1. On the disk, under a name that nobody reads.
	place, tmp := file(root, name), root.Join("Nexus/overrides/.new")
	if !o.IsZero() {
		if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a change that died
			return err
		}
		if err := hier.WriteFile(tmp, write(o), 0o644); err != nil {
			return err
		}
	}
	// 2. Into the ledger: nothing is ever given that it does not tell of.
	_, err := ledger.Open(root.Ledger()).AppendSync("policy", ledger.Text("package", name), ledger.Text("decided", o.String()))
	if err != nil {
		return err
	}
	// 3. The change itself.
	if o.IsZero() {
		err = Forget(root, name)
	} else if err = os.Rename(tmp, place); err == nil {
		err = hier.SyncDir(filepath.Dir(place))
	}
	return err
}

// Forget removes what is decided about a package, without a word in the ledger:
// it goes with the package, of whose removal the ledger tells. What is not there
// is no error.
func Forget(root *hier.Root, name string) error {
	place := file(root, name)
	if err := os.Remove(place); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("forget overrides: %w", err)
	}
	if err := hier.SyncDir(filepath.Dir(place)); err != nil {
		return err
	}
	os.Remove(root.Join("Nexus/overrides")) // fails, rightly, if there are others
	return nil
}
