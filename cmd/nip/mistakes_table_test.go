package main

import (
	"os"
	"strings"
	"syscall"
)

func commandLineMistakes() []mistake {
	return []mistake{
		{"no such verb", nil, []string{"instal", "x"}, 2,
			"nip: no such verb: \"instal\" (did you mean install?)\n" +
				"     see nip help\n"},
		{"unknown flag", nil, []string{"install", "--fast", "x"}, 2,
			"nip: unknown flag: --fast\n" +
				"     see nip help install\n"},
		{"flag without value", nil, []string{"pack", "-o"}, 2,
			"nip: flag needs an argument: 'o' in -o\n" +
				"     see nip help pack\n"},
		{"nothing to install", nil, []string{"install"}, 2,
			"nip: install: want the FILE of a package\n" +
				"     see nip help install\n"},
		{"too many words", nil, []string{"info", "a", "b"}, 2,
			"nip: info: want a PACKAGE, got \"b\" too\n" +
				"     see nip help info\n"},
		{"unknown shell", nil, []string{"completion", "tcsh"}, 2,
			"nip: completion for shell \"tcsh\": want bash, zsh or fish\n" +
				"     see nip help completion\n"},
		{"head that is none", (*desk).tool, []string{"ledger", "--head", "abc"}, 2,
			"nip: head \"abc\": not a content id: want 64 lower-case hexadecimal digits\n" +
				"     see nip help ledger\n"},
		{"key that is none", nil, []string{"key", "add", "friend"}, 1,
			"nip: key \"friend\": no such file, and not a public key: want nip-ed25519 <base64> <comment>\n" +
				"     a key is the line that nip key show prints, or a file that holds it\n"},
		{"key that is not trusted anyway", (*desk).tool, []string{"key", "remove", "12345678"}, 1,
			"nip: remove trusted key \"12345678\": no such key\n" +
				"     nip key list shows the keys that are trusted\n"},
		{"graft from nowhere", nil, []string{"graft", "snap:jq"}, 1,
			"nip: graft \"snap:jq\": not a source: want debian:NAME[=VERSION], tar:FILE, dir:PATH or oci:PATH\n" +
				"     for example: nip graft debian:jq -o jq.npk\n"},
		{"graft a directory that is missing", nil, []string{"graft", "dir:nowhere"}, 1,
			"nip: graft dir:nowhere: open DIR/nowhere: no such file or directory\n" +
				"     check the path\n"},
		{"graft a directory without programs", func(d *desk) { d.write("tool/share/x", "x", 0o644) },
			[]string{"-q", "graft", "dir:tool"}, 1,
			"nip: graft dir:tool: no command found: nothing in bin, sbin or games is executable\n" +
				"     make the programs executable and put them in bin\n"},
		{"graft with a bad pledge", func(d *desk) {
			b, err := os.ReadFile(nip)
			d.must(err)
			d.write("tool/bin/tool", string(b), 0o755)
		}, []string{"-q", "graft", "dir:tool", "--pledge", "EVERYTHING"}, 2,
			"nip: pledge \"EVERYTHING\": no such promise\n" +
				"     the promises are STDIO, RPATH, WPATH, CPATH, FATTR, INET, EXEC, PROC, or NONE alone: --pledge STDIO,RPATH\n"},
	}
}

func packageMistakes() []mistake {
	broken := func(ballast int, edit func([]byte) []byte) func(*desk) {
		return func(d *desk) {
			d.pack("tool", command("tool"), ballast)
			d.change("tool.npk", edit)
		}
	}
	stranger := func(d *desk) {
		d.pack("tool", command("tool"), 0)
		d.must(os.RemoveAll(d.path("root")))
	}
	install := []string{"-q", "install", "tool.npk"}
	return []mistake{
		{"no such file", nil, install, 1,
			"nip: open tool.npk: no such file or directory\n" +
				"     check the path\n"},
		{"not a package", func(d *desk) { d.write("tool.npk", strings.Repeat("hello\n", 100), 0o644) }, install, 1,
			"nip: install tool.npk: not an .npk file\n" +
				"     give a file made by nip pack or nip graft\n"},
		{"empty file", func(d *desk) { d.write("tool.npk", "", 0o644) }, install, 1,
			"nip: install tool.npk: not an .npk file\n" +
				"     give a file made by nip pack or nip graft\n"},
		{"cut in the head", broken(0, func(b []byte) []byte { return b[:100] }), install, 1,
			"nip: install tool.npk: package is damaged: ends in its head: unexpected EOF\n" +
				"     get the file again: it was cut or changed on its way\n"},
		{"cut in the body", broken(100000, func(b []byte) []byte { return b[:len(b)-5000] }), install, 1,
			"nip: install tool 1: package is damaged: ends in its contents: unexpected EOF\n" +
				"     get the file again: it was cut or changed on its way\n"},
		{"flipped bit in the head", broken(0, func(b []byte) []byte { b[200] ^= 1; return b }), install, 1,
			"nip: install tool.npk: signature is not valid\n" +
				"     get the file again from where you trust it; do not install this one\n"},
		{"flipped bit in the body", broken(100000, func(b []byte) []byte { b[len(b)-5000] ^= 1; return b }), install, 1,
			"nip: install tool 1: ballast: content has another id: package is damaged\n" +
				"     get the file again: it was cut or changed on its way\n"},
		{"something behind the end", broken(0, func(b []byte) []byte { return append(b, 'x') }), install, 1,
			"nip: install tool 1: package is damaged: bytes after its end\n" +
				"     get the file again: it was cut or changed on its way\n"},
		{"signed by a stranger", stranger, install, 1,
			"nip: install tool 1: signed with the key KEY, which is not trusted\n" +
				"     if you know that this key is the maker's: nip install --trust 'nip-ed25519 KEY' tool.npk\n"},
		{"trust something that is no key", stranger, []string{"-q", "install", "--trust", "tool/recipe.kdl", "tool.npk"}, 2,
			"nip: read tool/recipe.kdl: more than one line: not a public key: want nip-ed25519 <base64> <comment>\n" +
				"     a key is the line that nip key show prints, or a file that holds it\n"},
		{"for another machine", func(d *desk) { d.pack("tool", "    arch \"arm64\"\n"+command("tool"), 0) }, install, 1,
			"nip: install tool 1: package is for arm64, this is amd64: made for another architecture\n" +
				"     get the package for this machine\n"},
		{"missing dependency", func(d *desk) { d.pack("tool", "    depends \"fonts\"\n"+command("tool"), 0) }, install, 1,
			"nip: install tool 1: missing dependency: fonts\n" +
				"     install what is missing first: nip install FILE\n"},
		{"two packages with one title", func(d *desk) {
			d.tool()
			d.pack("other", "    title \"tool\"\n"+command("other"), 0)
		}, []string{"-q", "install", "other.npk"}, 1,
			"nip: install other 1: packages tool and other both have the title \"tool\": conflict\n" +
				"     remove what is installed first: nip remove PACKAGE\n"},
		{"one version with other contents", func(d *desk) {
			d.tool()
			d.write("tool/files/new", "new", 0o644)
			d.nip("-q", "pack", "tool/recipe.kdl", "-o", "tool.npk")
		}, install, 1,
			"nip: install tool 1: this version is installed with other contents; remove it first, or give the new one another version: conflict\n" +
				"     remove what is installed first: nip remove PACKAGE\n"},
		{"full disk", func(d *desk) {
			d.pack("tool", command("tool"), 25<<20)
			d.fullDisk()
		}, install, 1, fullDiskMessage()},
		{"file that cannot grow", func(d *desk) {
			d.pack("tool", command("tool"), 25<<20)
			d.smallFiles()
		}, install, 1,
			"nip: install tool 1: ballast: file too large\n" +
				"     free some space (nip gc frees what nothing uses), then try again; nothing was changed\n"},
	}
}

func installedMistakes() []mistake {
	return []mistake{
		{"remove what is not there", (*desk).tool, []string{"remove", "toool"}, 1,
			"nip: remove package toool: not installed\n" +
				"     nip list shows what is installed\n"},
		{"remove what others need", func(d *desk) {
			d.tool()
			d.pack("user", "    depends \"tool\"\n"+command("user"), 0)
			d.nip("-q", "install", "user.npk")
		}, []string{"remove", "tool"}, 1,
			"nip: remove tool 1: needed by other packages: user 1\n" +
				"     remove those first\n"},
		{"roll back the first version", (*desk).tool, []string{"rollback", "tool"}, 1,
			"nip: roll back tool 1: no earlier version\n" +
				"     nip info PACKAGE shows the installed versions\n"},
		{"roll back to what is not there", (*desk).tool, []string{"rollback", "tool", "--version", "0.9"}, 1,
			"nip: package tool 0.9: not installed\n" +
				"     nip list shows what is installed\n"},
		{"info of nothing", (*desk).tool, []string{"info", "nope"}, 1,
			"nip: package \"nope\": not installed\n" +
				"     nip list shows what is installed\n"},
		{"info of a version that is not there", (*desk).tool, []string{"info", "tool", "--version", "7"}, 1,
			"nip: package tool 7: not installed\n" +
				"     nip list shows what is installed\n"},
		{"changed file", func(d *desk) {
			d.tool()
			d.must(os.Chmod(d.path("root/Programs/tool/1/bin/tool"), 0o755))
		}, []string{"verify"}, 1,
			"nip: verify: 3 problems found\n" +
				"     remove the packages that are named and install them again\n"},
		{"changed ledger", func(d *desk) {
			d.tool()
			d.change("root/Nexus/ledger", func(b []byte) []byte { b[50] ^= 1; return b })
		}, []string{"ledger", "--verify"}, 1,
			"nip: verify ledger DIR/root/Nexus/ledger: record 1 at byte 0: changed after it was written\n" +
				"     keep a copy as evidence; records before this one are whole, what follows cannot be trusted\n"},
		{"head of another ledger", (*desk).tool, []string{"ledger", "--head", strings.Repeat("ab", 32)}, 1,
			"nip: verify ledger DIR/root/Nexus/ledger: head KEY: not in the ledger: its end was cut off or replaced\n" +
				"     compare the head with the one you noted; if it is right, the ledger was tampered with: restore it from a backup\n"},
		{"damaged record", func(d *desk) {
			d.tool()
			d.must(os.Chmod(d.path("root/Nexus/packages/tool/1"), 0o644))
			d.change("root/Nexus/packages/tool/1", func(b []byte) []byte { return b[:50] })
		}, []string{"list"}, 1,
			"nip: package tool 1: installation is damaged: package is damaged: ends in its head: unexpected EOF\n" +
				"     nip verify shows the damage; remove the package and install it again\n"},
		{"stop what does not run", (*desk).tool, []string{"stop", "tool"}, 1,
			"nip: tool: no such running cell\n" +
				"     nip ps shows the cells that run\n"},
		{"logs of what never ran", (*desk).tool, []string{"logs", "0badcafe"}, 1,
			"nip: 0badcafe: no such running cell\n" +
				"     nip ps shows the cells that run\n"},
	}
}

func recipeMistakes() []mistake {
	recipe := func(inner string) func(*desk) {
		return func(d *desk) {
			d.write("recipe.kdl", "package \"tool\" version=\"1\" {\n"+inner+"\n}\n", 0o644)
			d.write("files/bin/tool", "#!/bin/sh\n", 0o755)
		}
	}
	good := recipe(command("tool"))
	pack := []string{"-q", "pack", "recipe.kdl"}
	return []mistake{
		{"no recipe", nil, pack, 1,
			"nip: open recipe.kdl: no such file or directory\n" +
				"     check the path\n"},
		{"recipe with an unknown key", recipe(`    colour "red"`), pack, 1,
			"nip: recipe.kdl:2:5: unknown node \"colour\"\n" +
				"     correct the file at that line and column; nip help pack shows a recipe\n"},
		{"recipe that is no KDL", recipe(`    command "tool" exec="bin/tool`), pack, 1,
			"nip: recipe.kdl:2:25: string is not closed\n" +
				"     correct the file at that line and column; nip help pack shows a recipe\n"},
		{"recipe with a bad version", func(d *desk) { d.write("recipe.kdl", `package "tool" version="1 2"`, 0o644) }, pack, 1,
			"nip: recipe.kdl:1:24: \"1 2\" is no version: want up to 64 of A-Z a-z 0-9 . + ~ _ - and a letter or digit first\n" +
				"     correct the file at that line and column; nip help pack shows a recipe\n"},
		{"recipe with a bad name", func(d *desk) { d.write("recipe.kdl", `package "Tool" version="1"`, 0o644) }, pack, 1,
			"nip: recipe.kdl:1:9: \"Tool\" is no package name: want up to 64 of a-z 0-9 + . - and a letter or digit first\n" +
				"     correct the file at that line and column; nip help pack shows a recipe\n"},
		{"recipe with an absolute path", recipe(`    command "tool" exec="/bin/tool"`), pack, 1,
			"nip: recipe.kdl:2:25: path \"/bin/tool\" is absolute: want one relative to the package\n" +
				"     correct the file at that line and column; nip help pack shows a recipe\n"},
		{"recipe that leads out", recipe(`    command "tool" exec="../bin/tool"`), pack, 1,
			"nip: recipe.kdl:2:25: path \"../bin/tool\" has .. in it\n" +
				"     correct the file at that line and column; nip help pack shows a recipe\n"},
		{"recipe with a command twice", recipe(command("tool") + "\n" + `    command "tool" exec="bin/x"`), pack, 1,
			"nip: recipe.kdl:4:13: command \"tool\" given twice, first in line 2\n" +
				"     correct the file at that line and column; nip help pack shows a recipe\n"},
		{"recipe with a bad promise", recipe("    command \"tool\" exec=\"bin/tool\"\n    pledge \"STDOI\""), pack, 1,
			"nip: recipe.kdl:3:12: pledge \"STDOI\": no such promise\n" +
				"     the promises are STDIO, RPATH, WPATH, CPATH, FATTR, INET, EXEC, PROC, or NONE alone\n"},
		{"recipe with a bad size", recipe(command("tool") + "\n    budget memory=\"lots\""), pack, 1,
			"nip: recipe.kdl:4:19: budget \"memory=lots\": want a number such as 256M\n" +
				"     correct the file at that line and column; nip help pack shows a recipe\n"},
		{"command that is not there", recipe("    command \"tool\" exec=\"bin/toll\"\n    pledge \"STDIO\""), pack, 1,
			"nip: pack files: command tool: \"bin/toll\" is not in the package\n" +
				"     change the recipe or the files, then pack again\n"},
		{"command that is not executable", func(d *desk) {
			good(d)
			d.must(os.Chmod(d.path("files/bin/tool"), 0o644))
		}, pack, 1,
			"nip: pack files: command tool: bin/tool is no executable file\n" +
				"     change the recipe or the files, then pack again\n"},
		{"no files", func(d *desk) {
			good(d)
			d.must(os.RemoveAll(d.path("files")))
		}, pack, 1,
			"nip: pack files: open files: no such file or directory\n" +
				"     check the path\n"},
		{"a pipe among the files", func(d *desk) {
			good(d)
			d.must(syscall.Mkfifo(d.path("files/pipe"), 0o644))
		}, pack, 1,
			"nip: pack files: pipe: is a named pipe: a package holds files, directories and symlinks only\n" +
				"     change the recipe or the files, then pack again\n"},
		{"a link that leads out", func(d *desk) {
			good(d)
			d.must(os.Symlink("../../etc/passwd", d.path("files/passwd")))
		}, pack, 1,
			"nip: pack files: symlink passwd: \"../../etc/passwd\" leads out of the package\n" +
				"     change the recipe or the files, then pack again\n"},
		{"a place to write that is not there", good, append(pack, "-o", "nowhere/tool.npk"), 1,
			"nip: write nowhere/tool.npk: no such file or directory\n" +
				"     check the path\n"},
	}
}

func rootMistakes() []mistake {
	return []mistake{
		{"root that is not there", nil, []string{"remove", "tool"}, 1,
			"nip: root DIR/root does not exist\n" +
				"     nip install makes it; or choose another with --root DIRECTORY or NIP_ROOT\n"},
		{"root with too long a path", nil, []string{"--root", "/" + strings.Repeat("long/", 40) + "root", "env"}, 1,
			"nip: root \"/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/long/root\": must be at most 183 bytes long: not usable as a root\n" +
				"     give a root with --root DIRECTORY or NIP_ROOT: at most 183 bytes, no blanks\n"},
		{"root with a blank", nil, []string{"--root", "/tmp/my root", "env"}, 1,
			"nip: root \"/tmp/my root\": must hold no blanks or control characters: not usable as a root\n" +
				"     give a root with --root DIRECTORY or NIP_ROOT: at most 183 bytes, no blanks\n"},
		{"root that is a file", func(d *desk) { d.write("root", "", 0o644) }, []string{"env"}, 1,
			"nip: create root: mkdir DIR/root: exists, but is no directory of ours\n" +
				"     choose another root with --root DIRECTORY or NIP_ROOT\n"},
		{"root that others can write", func(d *desk) {
			d.must(os.Mkdir(d.path("root"), 0o777))
			d.must(os.Chmod(d.path("root"), 0o777))
		}, []string{"env"}, 1,
			"nip: root \"DIR/root\" is writable for others (mode 0777; chmod go-w it): root belongs to somebody else\n" +
				"     choose another root with --root DIRECTORY or NIP_ROOT\n"},
		{"no home", func(d *desk) {
			d.ordinary()
			d.env = []string{"NIP_ROOT=", "HOME=", "XDG_DATA_HOME="}
		}, []string{"env"}, 1,
			"nip: find the root: HOME and XDG_DATA_HOME are not set: not usable as a root\n" +
				"     give a root with --root DIRECTORY or NIP_ROOT: at most 183 bytes, no blanks\n"},
		{"root that cannot be written", func(d *desk) {
			d.ordinary()
			d.must(os.Chmod(d.dir, 0o555))
		}, []string{"env"}, 1,
			"nip: create root: mkdir DIR/root: permission denied\n" +
				"     check who owns the path, or choose a root of your own with --root DIRECTORY or NIP_ROOT\n"},
		{"own key that others can read", func(d *desk) {
			d.tool()
			d.must(os.Chmod(d.path("root/Nexus/keys/own"), 0o644))
		}, []string{"-q", "pack", "tool/recipe.kdl"}, 1,
			"nip: read own key: DIR/root/Nexus/keys/own has mode 0644: private key is accessible to others: make it 0600 if nobody has read it, else remove it\n" +
				"     chmod 600 it if you are sure; else remove it, and nip makes a new one\n"},
		{"policy that is wrong", func(d *desk) {
			d.tool()
			d.write("root/Nexus/policy.kdl", "pledge \"EVERYTHING\"\n", 0o644)
		}, []string{"run", "tool"}, 125,
			"nip: DIR/root/Nexus/policy.kdl:1:1: pledge \"EVERYTHING\": no such promise\n" +
				"     the promises are STDIO, RPATH, WPATH, CPATH, FATTR, INET, EXEC, PROC, or NONE alone\n"},
	}
}

func runMistakes() []mistake {
	return []mistake{
		{"run nothing", nil, []string{"run"}, 125,
			"nip: no package given\n" +
				"     see nip help run\n"},
		{"run with an unknown flag", nil, []string{"run", "--fast", "tool"}, 125,
			"nip: unknown flag: --fast\n" +
				"     see nip help run\n"},
		{"run what is not installed", (*desk).tool, []string{"run", "toool"}, 125,
			"nip: package \"toool\": not installed\n" +
				"     nip list shows what is installed\n"},
		{"run a command that is not there", (*desk).tool, []string{"run", "tool/x"}, 127,
			"nip: package tool has no command x\n" +
				"     choose one: nip run tool/tool\n"},
		{"run one of several commands", func(d *desk) {
			d.pack("tool", "    command \"a\" exec=\"bin/tool\"\n    command \"b\" exec=\"bin/tool\"\n    pledge \"STDIO\"", 0)
			d.nip("-q", "install", "tool.npk")
		}, []string{"run", "tool"}, 127,
			"nip: package tool has several commands and none is called tool\n" +
				"     choose one: nip run tool/a, nip run tool/b\n"},
		{"run with a bad unveil", (*desk).tool, []string{"run", "--unveil", ":rw", "tool"}, 125,
			"nip: unveil \":rw\": no path\n" +
				"     write a path and rights out of r, w, x, c: --unveil \"$PWD:rw\"\n"},
		{"run with an unveil that is not there", (*desk).tool, []string{"run", "--unveil", "/no/such/place:rw", "tool"}, 125,
			"nip: unveil /no/such/place: no such file or directory\n" +
				"     check the path: only what exists can be unveiled\n"},
		{"run with a bad pledge", (*desk).tool, []string{"run", "--pledge", "STDIO,WRITE", "tool"}, 125,
			"nip: pledge \"WRITE\": no such promise\n" +
				"     the promises are STDIO, RPATH, WPATH, CPATH, FATTR, INET, EXEC, PROC, or NONE alone: --pledge STDIO,RPATH\n"},
		{"run without STDIO", (*desk).tool, []string{"run", "--pledge", "NONE", "tool"}, 125,
			"nip: a pledge without STDIO lets no program run\n" +
				"     add it: --pledge STDIO\n"},
		{"run with a bad budget", (*desk).tool, []string{"run", "--budget", "memory=lots", "tool"}, 125,
			"nip: budget \"memory=lots\": want a number such as 256M\n" +
				"     write for example --budget memory=256M,fibers=64,cpu=50%,disk=1G,io=20M/s,energy=2.5J/s,spectrum=gravity\n"},
		{"run with a bad user", (*desk).tool, []string{"run", "--user", "no-such-user", "tool"}, 125,
			"nip: user \"no-such-user\": want UID[:GID] or the name of a user\n" +
				"     see nip help run\n"},
		{"run with a bad variable", (*desk).tool, []string{"run", "--env", "=x", "tool"}, 125,
			"nip: environment \"=x\": want NAME=VALUE or NAME\n" +
				"     see nip help run\n"},
		{"learn in the background", (*desk).tool, []string{"run", "--learn", "-d", "tool"}, 125,
			"nip: --learn says what was used when the program has ended: with --detach it needs a file, --learn=FILE\n" +
				"     see nip help run\n"},
		{"learn into a file that cannot be made", (*desk).tool, []string{"run", "--learn=no/such/place", "tool"}, 125,
			"nip: open no/such/place: no such file or directory\n" +
				"     check the path\n"},
		{"run in a directory that it cannot see", (*desk).tool, []string{"run", "--cwd", "/usr", "tool"}, 125,
			"nip: start in /usr: the cell cannot see it\n" +
				"     unveil it as well: --unveil /usr:r\n"},
		{"run in a directory that is not there", (*desk).tool, []string{"run", "--cwd", "/no/such/place", "tool"}, 125,
			"nip: start in /no/such/place: no such file or directory\n" +
				"     check the path\n"},
		{"unveil in a loop of links", func(d *desk) {
			d.tool()
			d.must(os.Symlink("loop", d.path("loop")))
		}, []string{"run", "--unveil", "loop:r", "tool"}, 125,
			"nip: unveil DIR/loop: EvalSymlinks: too many links\n" +
				"     check the path\n"},
		{"unveil what the person may not reach", func(d *desk) {
			d.ordinary()
			d.tool()
			d.must(os.MkdirAll(d.path("closed/inner"), 0o755))
			d.must(os.Chmod(d.path("closed"), 0))
			d.t.Cleanup(func() { d.must(os.Chmod(d.path("closed"), 0o755)) })
		}, []string{"run", "--unveil", "closed/inner:r", "tool"}, 125,
			"nip: unveil DIR/closed/inner: permission denied\n" +
				"     check who owns the path: a cell gets no more than you may reach yourself\n"},
		{"unveil what the policy forbids", func(d *desk) {
			d.tool()
			d.write("root/Nexus/policy.kdl", "unveil \"/srv\" \"r\"\n", 0o644)
		}, []string{"run", "--unveil", "home:rw", "tool"}, 125,
			"nip: unveil DIR/home: the host's policy does not allow it\n" +
				"     leave it away, or have the host's policy.kdl allow it\n"},
		{"run what has no commands", func(d *desk) {
			d.pack("tool", "", 0)
			d.nip("-q", "install", "tool.npk")
		}, []string{"run", "tool"}, 127,
			"nip: package tool has no commands\n" +
				"     it is there for packages that depend on it\n"},
		{"flag of run without value", nil, []string{"run", "--pledge"}, 125,
			"nip: flag needs an argument: --pledge\n" +
				"     see nip help run\n"},
		{"a directory as standard input", func(d *desk) {
			d.tool()
			d.wrap = []string{"sh", "-c", `exec "$0" "$@" </`}
		}, []string{"run", "tool"}, 125,
			"nip: give descriptor 0 to the cell: it is a directory\n" +
				"     redirect it: nip run … </dev/null\n"},
		{"a directory as standard output", func(d *desk) {
			d.tool()
			d.wrap = []string{"sh", "-c", `exec "$0" "$@" 1</`}
		}, []string{"run", "tool"}, 125,
			"nip: give descriptor 1 to the cell: it is a directory\n" +
				"     redirect it: nip run … 1>FILE\n"},
		{"too low a limit for the mark", func(d *desk) {
			d.ordinary()
			d.tool()
			d.wrap = append([]string{"prlimit", "--msgqueue=1000"}, d.wrap...)
		}, []string{"run", "tool"}, 125,
			"nip: mark the cell (RLIMIT_MSGQUEUE must allow at least 196608): operation not permitted\n" +
				"     nip doctor shows what this host lacks\n"},
		{"a program that the kernel does not know", func(d *desk) {
			d.write("tool/files/bin/tool", "no program\n", 0o755)
			d.write("tool/recipe.kdl", "package \"tool\" version=\"1\" {\n"+command("tool")+"\n}\n", 0o644)
			d.nip("-q", "pack", "tool/recipe.kdl", "-o", "tool.npk")
			d.nip("-q", "install", "tool.npk")
		}, []string{"run", "tool"}, 126,
			"nip: execute DIR/root/System/Views/tool/1/Programs/tool/1/bin/tool: exec format error\n" +
				"     nip verify shows whether the package is whole, nip doctor whether this host can run cells\n"},
		{"a program that needs more than its pledge", func(d *desk) { d.program(waiter) }, []string{"run", "tool", "socket"}, 128 + 9,
			"nip: tool: capability fault: tool (process PID) called socket, which needs INET: killed; grant it with --pledge STDIO,INET\n"},
		{"a program that needs more than the policy allows", func(d *desk) {
			d.program(waiter)
			d.write("root/Nexus/policy.kdl", "pledge \"STDIO\" \"RPATH\"\n", 0o644)
		}, []string{"run", "--deny", "tool", "socket"}, 1,
			"nip: tool: capability fault: tool (process PID) called socket, which needs INET: denied; the host's policy allows no cell that\n" +
				"socket: operation not permitted\n"},
		{"a program that does what no cell may", func(d *desk) { d.program(waiter) }, []string{"run", "tool", "mount"}, 128 + 9,
			"nip: tool: capability fault: tool (process PID) called mount, which no cell may: killed\n"},
		{"unveil the root itself", (*desk).tool, []string{"run", "--unveil", "root:r", "tool"}, 125,
			"nip: unveil DIR/root: it contains nip's own files (keys, ledger, other packages), which no cell may see\n" +
				"     unveil a directory that neither holds the root nor lies in it\n"},
		{"nip inside a cell", func(d *desk) { d.program(nip) }, []string{"run", "tool", "list"}, 125,
			"nip: nip cannot run inside a cell\n" +
				"     run it outside: what a cell may do only ever shrinks\n"},
		{"remove what runs", (*desk).running, []string{"remove", "tool"}, 1,
			"nip: remove tool 1: still running in cell FIBER\n" +
				"     nip ps shows the cells; nip stop ends one\n"},
		{"install over what runs", func(d *desk) {
			d.running()
			d.write("tool/files/new", "new", 0o644)
			d.nip("-q", "pack", "tool/recipe.kdl", "-o", "tool.npk")
		}, []string{"-q", "install", "tool.npk"}, 1,
			"nip: install tool 1: this version is installed with other contents; remove it first, or give the new one another version: conflict\n" +
				"     remove what is installed first: nip remove PACKAGE\n"},
		{"run as somebody else", func(d *desk) {
			d.ordinary()
			d.tool()
		}, []string{"run", "--user", "1", "tool"}, 125,
			"nip: only root can run a cell as another user\n" +
				"     leave --user away, or run nip as root\n"},
	}
}

// fullDiskMessage is what nip says at the end of fullDisk's disk.
func fullDiskMessage() string {
	what := "ballast: file too large"
	if os.Geteuid() == 0 {
		what = "DIR/root has 2.1 MB free, the package needs 27.3 MB: not enough space"
	}
	return "nip: install tool 1: " + what + "\n" +
		"     free some space (nip gc frees what nothing uses), then try again; nothing was changed\n"
}
