package graft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// apt is a private view of the host's package sources: the host's own
// configuration says where packages come from and whom to trust, but lists,
// cache and the (empty) list of installed packages are ours. It works for
// ordinary users too, as nothing of the host is written.
type apt struct {
	dir   string // of lists, cache and configuration
	cache string // of downloaded packages, by content
	lock  *os.File
	note  func(text, thing string)
}

// listsAge is how old package lists may be before they are fetched again.
const listsAge = time.Hour

// hostHooks are settings whose commands would touch the host after an update
// or a download. They can only be cleared in a configuration file.
const hostHooks = `#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Update::Post-Invoke-Stats;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
`

// openApt prepares the private view below cache and waits until no other graft
// uses it. close releases it.
func openApt(ctx context.Context, cache string, note func(text, thing string)) (*apt, error) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return nil, ErrNoApt
	}
	abs, err := filepath.Abs(cache)
	if err != nil {
		return nil, err
	}
	a := &apt{dir: filepath.Join(abs, "apt"), cache: filepath.Join(abs, "deb"), note: note}
	for _, d := range []string{a.cache, filepath.Join(a.dir, "lists/partial"), filepath.Join(a.dir, "archives/partial")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("make a directory for downloads: %w", err)
		}
	}
	if a.lock, err = os.OpenFile(filepath.Join(a.dir, "nip.lock"), os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return nil, fmt.Errorf("lock downloads: %w", err)
	}
	if err := flock(ctx, a.lock); err != nil {
		a.close()
		return nil, fmt.Errorf("lock downloads: %w", err)
	}
	err = os.WriteFile(a.path("status"), nil, 0o644)
	if err == nil {
		err = os.WriteFile(a.path("apt.conf"), []byte(hostHooks), 0o644)
	}
	if err != nil {
		a.close()
		return nil, fmt.Errorf("configure apt: %w", err)
	}
	return a, nil
}

// flock waits for an exclusive lock on f until ctx is done.
func flock(ctx context.Context, f *os.File) error {
	const pause = 50 * time.Millisecond
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (a *apt) close() { a.lock.Close() } // nothing was written through it

func (a *apt) path(name string) string { return filepath.Join(a.dir, name) }

// run runs one of apt's programs in directory dir with the private view and
// returns its standard output.
func (a *apt) run(ctx context.Context, dir, program string, args ...string) ([]byte, error) {
	view := []string{"-c", a.path("apt.conf"),
		"-o", "Dir::State=" + a.dir, "-o", "Dir::State::lists=" + a.path("lists"),
		"-o", "Dir::State::status=" + a.path("status"), "-o", "Dir::State::extended_states=" + a.path("extended_states"),
		"-o", "Dir::Cache=" + a.dir, "-o", "Dir::Cache::pkgcache=pkgcache.bin", "-o", "Dir::Cache::srcpkgcache=srcpkgcache.bin", "-o", "Dir::Cache::archives=" + a.path("archives"),
		"-o", "Dir::Log=" + a.path("log"), "-o", "Acquire::Languages=none", "-o", "APT::Install-Recommends=false",
		"-o", "APT::Get::Assume-Yes=true", "-o", "Dpkg::Use-Pty=false"}
	cmd := exec.CommandContext(ctx, program, append(view, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", program, args[0], err, complaint(errs.String()+out.String()))
	}
	return out.Bytes(), nil
}

// complaint returns what apt says is wrong: its E: lines and its lines about
// dependencies that cannot be met.
func complaint(text string) string {
	var said []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "E:") || strings.Contains(line, "Depends:") || strings.Contains(line, "is a virtual package") {
			said = append(said, strings.TrimSpace(strings.TrimPrefix(line, "E:")))
		}
	}
	if len(said) == 0 {
		return "it did not say why"
	}
	return strings.Join(slices.Compact(said), "; ")
}

// update fetches the package lists if they are missing, old, or must be new.
// Old lists serve where new ones cannot be had.
func (a *apt) update(ctx context.Context, force bool) error {
	stamp := a.path("updated")
	fi, err := os.Stat(stamp)
	if err == nil && !force && time.Since(fi.ModTime()) < listsAge {
		return nil
	}
	have := err == nil
	if _, err := a.run(ctx, a.dir, "apt-get", "-o", "APT::Update::Error-Mode=any", "update"); err != nil {
		if have && ctx.Err() == nil {
			a.note("package lists are not up to date: "+err.Error(), "")
			return nil
		}
		return fmt.Errorf("fetch package lists: %w", err)
	}
	if err := os.WriteFile(stamp, nil, 0o644); err != nil {
		return fmt.Errorf("fetch package lists: %w", err)
	}
	return nil
}

// selection returns the packages that installing names on an empty system
// would install, each as name:arch=version, in apt's order.
func (a *apt) selection(ctx context.Context, names []string) ([]string, error) {
	out, err := a.run(ctx, a.dir, "apt-get", append([]string{"--simulate", "--no-install-recommends", "install", "--"}, names...)...)
	if err != nil {
		return nil, err
	}
	var chosen []string
	for line := range strings.Lines(string(out)) {
		// Inst libc6 (2.36-9+deb12u14 Debian:12.15/oldstable [amd64]) []
		f := strings.Fields(line)
		if len(f) < 4 || f[0] != "Inst" {
			continue
		}
		_, arch, ok := strings.Cut(line, " [")
		i := strings.IndexByte(arch, ']')
		if !ok || i < 0 {
			return nil, fmt.Errorf("apt-get --simulate: cannot read %q", strings.TrimSpace(line))
		}
		name, _, _ := strings.Cut(f[1], ":")
		chosen = append(chosen, name+":"+arch[:i]+"="+strings.TrimPrefix(f[2], "("))
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("apt-get --simulate: %w", ErrNotInstalled)
	}
	return chosen, nil
}

// deb is a Debian package that was chosen.
type deb struct {
	Name, Version, Arch string
	Source              string // source package
	Summary             string
	SHA256              string
	Size                int64
	Provides            []string
	Depends             [][]string // each a list of alternatives; Pre-Depends included
	path                string     // of the downloaded file
	only                string     // directory of the tree that it is taken for, "": all of it
	debFile
}

func (d *deb) spec() string { return d.Name + ":" + d.Arch + "=" + d.Version }

// show reads what the lists say about the packages of a selection.
func (a *apt) show(ctx context.Context, selection []string) ([]*deb, error) {
	out, err := a.run(ctx, a.dir, "apt-cache", append([]string{"show", "--no-all-versions", "--"}, selection...)...)
	if err != nil {
		return nil, err
	}
	found := map[string]*deb{}
	for _, p := range strings.Split(string(out), "\n\n") {
		if d := parseStanza(p); d.Name != "" {
			found[d.spec()] = d
		}
	}
	var debs []*deb
	for _, s := range selection {
		d := found[s]
		if d == nil {
			name, rest, _ := strings.Cut(s, ":")
			_, version, _ := strings.Cut(rest, "=")
			d = found[name+":all="+version]
		}
		if d == nil || len(d.SHA256) != 64 {
			return nil, fmt.Errorf("the package lists have no checksum of %s", s)
		}
		debs = append(debs, d)
	}
	return debs, nil
}

// parseStanza reads one paragraph of a Packages file.
func parseStanza(text string) *deb {
	d := &deb{}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimRight(line, "\n"), ":")
		value = strings.TrimSpace(value)
		if !ok || strings.HasPrefix(key, " ") {
			continue
		}
		switch key {
		case "Package":
			d.Name = value
		case "Version":
			d.Version = value
		case "Architecture":
			d.Arch = value
		case "Source":
			d.Source, _, _ = strings.Cut(value, " ")
		case "Description", "Description-en":
			d.Summary = value
		case "SHA256":
			d.SHA256 = strings.ToLower(value)
		case "Size":
			d.Size, _ = strconv.ParseInt(value, 10, 64) // only shown
		case "Provides":
			for _, alternatives := range parseRelations(value) {
				d.Provides = append(d.Provides, alternatives...)
			}
		case "Depends", "Pre-Depends":
			d.Depends = append(d.Depends, parseRelations(value)...)
		}
	}
	if d.Source == "" {
		d.Source = d.Name
	}
	return d
}

// parseRelations reads the names of a relation field: a (>= 1) | b, c:any.
func parseRelations(field string) (all [][]string) {
	for group := range strings.SplitSeq(field, ",") {
		var names []string
		for alternative := range strings.SplitSeq(group, "|") {
			if f := strings.FieldsFunc(alternative, func(r rune) bool { return r == ' ' || r == '(' }); len(f) > 0 {
				name, _, _ := strings.Cut(f[0], ":")
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			all = append(all, names)
		}
	}
	return all
}

// fetch downloads what is not in the cache yet. apt checks the signatures and
// checksums; the checksum is checked again here, before a file gets its name.
func (a *apt) fetch(ctx context.Context, debs []*deb, progress func(done, total int64)) error {
	var missing []*deb
	var done, total int64
	for _, d := range debs {
		d.path = filepath.Join(a.cache, d.SHA256+".deb")
		total += d.Size
		if _, err := os.Stat(d.path); err == nil {
			done += d.Size
		} else if errors.Is(err, os.ErrNotExist) {
			missing = append(missing, d)
		} else {
			return fmt.Errorf("look for %s: %w", d.Name, err)
		}
	}
	const batch = 8 // so that progress can be told
	for part := range slices.Chunk(missing, batch) {
		progress(done, total)
		if err := a.download(ctx, part); err != nil {
			return err
		}
		for _, d := range part {
			done += d.Size
		}
	}
	progress(total, total)
	return nil
}

func (a *apt) download(ctx context.Context, debs []*deb) error {
	dir, err := os.MkdirTemp(a.cache, "download-")
	if err != nil {
		return fmt.Errorf("download: %w", err)
	}
	defer os.RemoveAll(dir)
	if os.Geteuid() == 0 {
		giveToApt(dir)
	}
	var specs []string
	for _, d := range debs {
		specs = append(specs, d.spec())
	}
	if _, err := a.run(ctx, dir, "apt-get", append([]string{"--quiet", "download", "--"}, specs...)...); err != nil {
		return fmt.Errorf("download: %w", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("download: %w", err)
	}
	sums := map[string]string{}
	for _, f := range files {
		name := filepath.Join(dir, f.Name())
		sum, err := fileSHA256(name)
		if err != nil {
			return fmt.Errorf("download: %w", err)
		}
		sums[sum] = name
	}
	for _, d := range debs {
		if sums[d.SHA256] == "" {
			return fmt.Errorf("download %s: no file with the checksum %s arrived", d.Name, d.SHA256)
		}
		if err := os.Rename(sums[d.SHA256], d.path); err != nil {
			return fmt.Errorf("download %s: %w", d.Name, err)
		}
	}
	return nil
}

// giveToApt lets apt download as its own unprivileged user, as it prefers.
// Without that it downloads as root and warns, so an error changes nothing.
func giveToApt(dir string) {
	u, err := user.Lookup("_apt")
	if err != nil {
		return
	}
	if uid, err := strconv.Atoi(u.Uid); err == nil {
		_ = os.Chown(dir, uid, -1)
	}
}
