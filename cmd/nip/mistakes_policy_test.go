package main

// update installs tool 1 and packs tool 2, which asks for more.
func (d *desk) update() {
	d.t.Helper()
	d.version("1", "    pledge \"STDIO\" \"RPATH\"\n    unveil \"/srv\" \"r\"\n    budget memory=\"64M\"\n    bus \"hud\"")
	d.nip("-q", "install", "tool-1.npk")
	d.version("2", "    pledge \"STDIO\" \"RPATH\" \"INET\"\n    unveil \"/opt\" \"r\"\n    unveil \"/srv\" \"rw\"\n    budget memory=\"1G\"\n    bus \"hud\" \"open-file\"")
}

// version packs a version of the package tool.
func (d *desk) version(version, inner string) {
	d.t.Helper()
	d.write("tool/files/bin/tool", "#!/bin/sh\n", 0o755)
	d.write("tool/recipe.kdl", "package \"tool\" version=\""+version+"\" {\n    command \"tool\" exec=\"bin/tool\"\n"+inner+"\n}\n", 0o644)
	d.nip("-q", "pack", "tool/recipe.kdl", "-o", "tool-"+version+".npk")
}

// held has tool 2 installed and held.
func (d *desk) held() {
	d.t.Helper()
	d.update()
	if status, _, stderr := d.run([]string{"-q", "install", "tool-2.npk"}); status != exitError {
		d.t.Fatalf("status %d\n%s", status, stderr)
	}
}

const (
	heldMessage = "nip: tool 2 is held: it asks for more than version 1 was given: pledge INET; unveil /opt:r; unveil /srv:w; " +
		"budget memory 64M -> 1G; bus open-file\n"
	heldAdvice = "     if you agree to that: nip policy accept tool --version 2\n"
)

func policyMistakes() []mistake {
	set := func(words ...string) []string { return append([]string{"policy", "set"}, words...) }
	decided := func(words ...string) func(*desk) {
		return func(d *desk) {
			d.tool()
			d.nip(append([]string{"-q", "policy", "set", "tool"}, words...)...)
		}
	}
	return []mistake{
		{"update that asks for more", (*desk).update, []string{"-q", "install", "tool-2.npk"}, 1, heldMessage + heldAdvice},
		{"the same once more", (*desk).held, []string{"-q", "install", "tool-2.npk"}, 1, heldMessage + heldAdvice},
		{"update that asks for more, with all that is said", (*desk).held, []string{"install", "tool-2.npk"}, 1,
			"tool 2 (10 B, 1 file), signed with KEY\n" +
				"  commands  tool\n" +
				"  pledge    STDIO,RPATH,INET\n" +
				"  unveil    /opt:r /srv:rw\n" +
				"  bus       hud open-file\n" +
				"  budget    memory=1G\n" +
				"installed tool 2 beside the active version\n" +
				heldMessage + heldAdvice},
		{"roll back to what is held", (*desk).held, []string{"rollback", "tool", "--version", "2"}, 1, heldMessage + heldAdvice},
		{"remove all but what is held", (*desk).held, []string{"remove", "tool", "--version", "1"}, 1,
			"nip: remove tool 1: only versions that nobody has accepted would be left: tool 2\n" +
				"     accept one first: nip policy accept PACKAGE; or remove all versions: nip remove PACKAGE\n"},
		{"accept and keep the active version", (*desk).update, []string{"install", "--accept", "--keep-current", "tool-2.npk"}, 2,
			"nip: --accept makes a version active, --keep-current does not: give one of them\n" +
				"     see nip help install\n"},
		{"accept what is not held", (*desk).tool, []string{"policy", "accept", "tool"}, 1,
			"nip: accept tool: no version is held\n" +
				"     nip info PACKAGE shows the versions, and which are held\n"},
		{"accept the active version", (*desk).held, []string{"policy", "accept", "tool", "--version", "1"}, 1,
			"nip: accept tool 1: no version is held\n" +
				"     nip info PACKAGE shows the versions, and which are held\n"},
		{"accept a version that is not there", (*desk).held, []string{"policy", "accept", "tool", "--version", "3"}, 1,
			"nip: package tool 3: not installed\n" +
				"     nip list shows what is installed\n"},
		{"accept what is not installed", (*desk).tool, []string{"policy", "accept", "toool"}, 1,
			"nip: package \"toool\": not installed\n" +
				"     nip list shows what is installed\n"},
		{"accept nothing", nil, []string{"policy", "accept"}, 2,
			"nip: policy accept: want a PACKAGE\n" +
				"     see nip help policy accept\n"},
		{"decide nothing", (*desk).tool, set("tool"), 2,
			"nip: policy set: want something to decide: --pledge, --unveil, --limit, --hide, --net or --budget\n" +
				"     see nip help policy set\n"},
		{"decide about nobody", nil, set("--pledge", "INET"), 2,
			"nip: policy set: want a PACKAGE or --all\n" +
				"     see nip help policy set\n"},
		{"decide about one and all", nil, set("--all", "tool", "--pledge", "INET"), 2,
			"nip: policy set: want a PACKAGE or --all, got both\n" +
				"     see nip help policy set\n"},
		{"decide about what is not installed", (*desk).tool, set("toool", "--pledge", "INET"), 1,
			"nip: package \"toool\": not installed\n" +
				"     nip list shows what is installed\n"},
		{"unknown promise to take", (*desk).tool, set("tool", "--pledge", "-NET"), 2,
			"nip: pledge \"-NET\": no such promise\n" +
				"     the promises are STDIO, RPATH, WPATH, CPATH, FATTR, INET, EXEC, PROC, or NONE alone: --pledge STDIO,RPATH\n"},
		{"unknown limit to narrow", (*desk).tool, set("tool", "--budget", "colour=3"), 2,
			"nip: budget \"colour\": no such item: there are memory, fibers, cpu, disk, io, energy and spectrum\n" +
				"     write for example --budget memory=256M,fibers=64,cpu=50%,disk=1G,io=20M/s,energy=2.5J/s,spectrum=gravity\n"},
		{"unveil nip's own files for good", (*desk).tool, set("tool", "--unveil", "root/Nexus/keys:r"), 1,
			"nip: unveil DIR/root/Nexus/keys: it contains nip's own files (keys, ledger, other packages), which no cell may see\n" +
				"     unveil a directory that neither holds the root nor lies in it\n"},
		{"unveil all for good", (*desk).tool, set("--all", "--unveil", "/"), 1,
			"nip: unveil /: it contains nip's own files (keys, ledger, other packages), which no cell may see\n" +
				"     unveil a directory that neither holds the root nor lies in it\n"},
		{"name that is not text", (*desk).tool, set("tool", "--hide", "/srv/\xff"), 1,
			"nip: decide about tool: a path is not text in UTF-8\n" +
				"     rename it, or decide about the directory above\n"},
		{"take back what was not decided", decided("--pledge", "INET"), []string{"policy", "clear", "tool", "--path", "/srv"}, 1,
			"nip: nothing is decided about /srv\n" +
				"     nip policy show lists what is\n"},
		{"take back from nobody", (*desk).tool, []string{"policy", "clear", "toool"}, 1,
			"nip: package \"toool\": not installed\n" +
				"     nip list shows what is installed\n"},
		{"overrides that cannot be read", func(d *desk) {
			d.tool()
			d.write("root/Nexus/overrides/tool.kdl", "pledge \"INTE\"\n", 0o644)
		}, []string{"run", "tool"}, 125,
			"nip: DIR/root/Nexus/overrides/tool.kdl:1:1: pledge \"INTE\": no such promise\n" +
				"     the promises are STDIO, RPATH, WPATH, CPATH, FATTR, INET, EXEC, PROC, or NONE alone\n"},
		{"start what was taken all", decided("--pledge", "-STDIO"), []string{"run", "tool"}, 125,
			"nip: a pledge without STDIO lets no program run\n" +
				"     add it: --pledge STDIO\n"},
	}
}
