package graft

import (
	"path"
	"slices"
	"strings"
)

// rootPlace maps a name of a Debian-like root file system to the package's
// layout: usr/X and X become X, so that bin sbin lib share etc … are at the
// top (a view has usr -> .). What belongs to the host is not taken.
func rootPlace(name string) (string, bool) {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	for strings.HasPrefix(name, "usr/") {
		name = strings.TrimPrefix(name, "usr/")
	}
	if name == "" || name == "usr" {
		return ".", true
	}
	top, _, _ := strings.Cut(name, "/")
	return name, !slices.Contains(hostTops[:], top)
}

// rootPlacing is how whole root file systems and Debian packages are placed.
func rootPlacing() placing { return placing{rootPlace, rootPlace} }

// within is p for what comes to lie in a directory, and takes nothing else; all of
// it for "".
func (p placing) within(dir string) placing {
	if dir == "" {
		return p
	}
	return placing{absolute: p.absolute, name: func(name string) (string, bool) {
		place, ok := p.name(name)
		return place, ok && (place == dir || inDir(place, dir))
	}}
}

// hostTops are top-level directories that a cell gets from its supervisor, or
// that belong to the host and its people.
var hostTops = [...]string{"dev", "proc", "sys", "run", "tmp", "boot", "home", "root", "mnt", "media", "lost+found"}

// plainPlace takes every name as it is: for trees that were made to live in a
// directory of their own.
func plainPlace(name string) (string, bool) {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if name == "" {
		return ".", true
	}
	return name, true
}

// linkTarget translates the target of a symbolic link, called original in the
// source and name in the tree, into one that is relative inside the tree. ok
// is false where the target is nothing that the tree takes; "" means that the
// link would lead to itself.
func linkTarget(original, name, target string, place placing) (string, bool) {
	abs, find := target, place.absolute
	if !path.IsAbs(target) {
		if !slices.Contains(strings.Split(target, "/"), "..") {
			if path.Join(path.Dir(name), target) == name {
				return "", true
			}
			if placed, ok := place.name(path.Join(path.Dir(original), target)); ok && placed == path.Join(path.Dir(name), target) {
				return target, true
			}
		}
		abs, find = path.Join("/", path.Dir(original), target), place.name
	}
	placed, ok := find(abs)
	if !ok {
		return "", false
	}
	if placed == name {
		return "", true
	}
	return relative(path.Dir(name), placed), true
}

// relative returns the path that leads from directory dir to name, both clean
// and relative to the same place.
func relative(dir, name string) string {
	var from, to []string
	if dir != "." {
		from = strings.Split(dir, "/")
	}
	if name != "." {
		to = strings.Split(name, "/")
	}
	for len(from) > 0 && len(to) > 0 && from[0] == to[0] {
		from, to = from[1:], to[1:]
	}
	parts := append(slices.Repeat([]string{".."}, len(from)), to...)
	if len(parts) == 0 {
		return "."
	}
	return strings.Join(parts, "/")
}

// stripped reports whether a file is of no use to a running program. Keep
// turns this off.
//
// What goes: documentation, message sources and tables for other tools (man,
// info, doc-base, lintian, bug, menu), locale sources (share/i18n), headers,
// static libraries and what only compilers and linkers read, shell completion,
// tracing and debugger scripts, debug information, and configuration of the
// host's services (systemd, cron, init, logrotate, apt, dpkg, debconf), which a
// cell does not have.
func stripped(name string) bool {
	for _, dir := range strippedDirs {
		if name == dir || strings.HasPrefix(name, dir+"/") {
			return true
		}
	}
	dir, base := path.Split(name)
	switch path.Ext(base) {
	case ".a":
		return strings.HasPrefix(name, "lib")
	case ".la":
		return strings.HasPrefix(name, "lib")
	}
	return strings.HasSuffix(dir, "/pkgconfig/") || strings.HasSuffix(dir, "/cmake/")
}

var strippedDirs = [...]string{
	"share/doc", "share/man", "share/info", "share/doc-base", "share/gtk-doc", "share/help",
	"share/lintian", "share/linda", "share/bug", "share/menu", "share/reportbug", "share/apport",
	"share/i18n", "include", "src", "share/aclocal", "share/pkgconfig", "lib/pkgconfig",
	"share/bash-completion", "share/zsh", "share/fish", "etc/bash_completion.d",
	"share/systemtap", "share/gdb", "lib/debug", "share/gcc", "share/nodejs/@types",
	"lib/systemd", "etc/systemd", "etc/init.d", "etc/init", "etc/cron.d", "etc/cron.daily", "etc/cron.weekly",
	"etc/cron.monthly", "etc/logrotate.d", "etc/logcheck", "etc/apt", "etc/dpkg", "etc/kernel", "lib/tmpfiles.d",
	"lib/sysusers.d", "lib/udev", "lib/modprobe.d", "share/debconf", "share/initramfs-tools",
	"var/lib/dpkg", "var/cache", "var/log", "etc/ca-certificates/update.d",
	"sbin/update-ca-certificates", "bin/c_rehash", // scripts whose work graft has done
}
