package graft

import (
	"io/fs"
	"path"
	"strings"

	"nipcells/internal/npk"
)

// component says which environment variable leads a program to files that it
// has compiled in as /usr/… or /etc/…. {lib} is the directory of libraries,
// {match} what has matched.
type component struct {
	name string
	// paths are globs in the tree; every one that exists becomes part of the
	// value, in order.
	paths []string
	// list says that the variable takes several directories, with colons
	// between; else the first match is taken.
	list bool
	// parent says that the directory that holds the match is meant.
	parent bool
}

// components is the table of variables. None is needed for Python: it finds
// its prefix from where its executable is.
func components() []component {
	return []component{
		{name: "GCONV_PATH", paths: []string{"{lib}/gconv"}},                                                   // libc: character sets
		{name: "TZDIR", paths: []string{"share/zoneinfo"}},                                                     // libc: time zones
		{name: "TERMINFO_DIRS", paths: []string{"etc/terminfo", "lib/terminfo", "share/terminfo"}, list: true}, // ncurses
		{name: "SSL_CERT_FILE", paths: []string{bundle}},                                                       // OpenSSL, Go, Node's --use-openssl-ca
		{name: "SSL_CERT_DIR", paths: []string{"etc/ssl/certs"}},
		{name: "OPENSSL_CONF", paths: []string{"etc/ssl/openssl.cnf"}},
		{name: "OPENSSL_MODULES", paths: []string{"{lib}/ossl-modules"}},
		{name: "OPENSSL_ENGINES", paths: []string{"{lib}/engines-3"}},
		{name: "SASL_PATH", paths: []string{"{lib}/sasl2"}},
		{name: "GIT_EXEC_PATH", paths: []string{"lib/git-core"}},
		{name: "GIT_TEMPLATE_DIR", paths: []string{"share/git-core/templates"}},
		// @INC of Debian's perl, in its order.
		{name: "PERL5LIB", paths: []string{"etc/perl", "{lib}/perl5/5.[0-9]*", "share/perl5", "{lib}/perl-base", "{lib}/perl/5.[0-9][0-9]", "share/perl/5.[0-9][0-9]"}, list: true},
		{name: "VIM", paths: []string{"share/vim"}},
		{name: "VIMRUNTIME", paths: []string{"share/vim/vim[0-9]*"}},
		{name: "MAGIC", paths: []string{"lib/file/magic.mgc", "share/misc/magic.mgc"}}, // file, libmagic
		{name: "TCL_LIBRARY", paths: []string{"share/tcltk/tcl[0-9]*/init.tcl"}, parent: true},
		{name: "TK_LIBRARY", paths: []string{"share/tcltk/tk[0-9]*/tk.tcl"}, parent: true},
		{name: "RUBYLIB", paths: []string{"lib/ruby/vendor_ruby", "{lib}/ruby/vendor_ruby/[0-9]*", "lib/ruby/[0-9]*", "{lib}/ruby/[0-9]*"}, list: true},
		{name: "NODE_PATH", paths: []string{"{lib}/nodejs", "share/nodejs", "lib/nodejs"}, list: true},
		{name: "FONTCONFIG_PATH", paths: []string{"etc/fonts/fonts.conf"}, parent: true},
		{name: "GIO_MODULE_DIR", paths: []string{"{lib}/gio/modules"}},
		{name: "GSETTINGS_SCHEMA_DIR", paths: []string{"share/glib-2.0/schemas/gschemas.compiled"}, parent: true},
		{name: "GDK_PIXBUF_MODULE_FILE", paths: []string{"{lib}/gdk-pixbuf-2.0/*/loaders.cache"}},
		{name: "QT_PLUGIN_PATH", paths: []string{"{lib}/qt6/plugins", "{lib}/qt5/plugins"}, list: true},
		{name: "XKB_CONFIG_ROOT", paths: []string{"share/X11/xkb"}},
		{name: "XLOCALEDIR", paths: []string{"share/X11/locale"}},
		{name: "LIBGL_DRIVERS_PATH", paths: []string{"{lib}/dri"}},
		{name: "XDG_DATA_DIRS", paths: []string{"share/applications", "share/mime", "share/icons", "share/glib-2.0"}, parent: true},
		{name: "XDG_CONFIG_DIRS", paths: []string{"etc/xdg"}},
	}
}

// environment returns the variables of what was found in the tree.
func (g *grafting) environment() []npk.EnvVar {
	var vars []npk.EnvVar
	for _, c := range components() {
		var values []string
		for _, glob := range c.paths {
			matches, err := fs.Glob(g.tree.root.FS(), strings.ReplaceAll(glob, "{lib}", g.libDir()))
			if err != nil {
				continue // the table's globs are well formed
			}
			for _, m := range matches {
				if c.parent {
					m = path.Dir(m)
				}
				values = append(values, "{prefix}/"+m)
			}
		}
		if len(values) == 0 {
			continue
		}
		if !c.list {
			values = values[:1]
		}
		vars = append(vars, npk.EnvVar{Name: c.name, Value: strings.Join(values, ":")})
	}
	if g.tree.exists("lib/git-core") && g.tree.exists(bundle) {
		vars = append(vars, npk.EnvVar{Name: "GIT_SSL_CAINFO", Value: "{prefix}/" + bundle})
	}
	if g.tree.exists("bin/curl") && g.tree.exists(bundle) {
		vars = append(vars, npk.EnvVar{Name: "CURL_CA_BUNDLE", Value: "{prefix}/" + bundle})
	}
	return vars
}
