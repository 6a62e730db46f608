package programs

import "testing"

// program is real software: how it becomes a package, what it is for, and how
// it looks at files.
type program struct {
	name    string   // of the package
	graft   []string // source and flags; {dir} is the directory that stage fills
	stage   func(t testingT, dir string)
	depends []string          // packages that its recipe is given
	shared  bool              // grafted once for all who test in one run
	files   map[string]string // what lies in {work}
	jobs    []job
	more    []piece
	nobody  bool // as root, its cells are somebody else's
	// learn is a job that a cell learns from.
	learn *job
	// wait makes it read its standard input to the end.
	wait []string
	// read makes it print, in a line of its own, something with "READ" and the
	// path for each of paths that it could read; %s stands for one path if each
	// is a run of its own.
	read func(paths []string) [][]string
	// list does the same for directories: "READ" and a path if it saw a name.
	list func(dirs []string) [][]string
	// told is a regular expression for what both print instead of "READ".
	told string
}

// piece is work that takes more than a program and its arguments.
type piece struct {
	name string
	run  func(t *testing.T, w *world)
	held bool // and is done under a tight budget, too
}

// job is work that the program does in a cell: {work} is an unveiled directory.
type job struct {
	name  string
	flags []string
	args  []string
	stdin string
	want  string // regular expression that must match what it prints
	// file is made below {work}, or below HOME where it begins with "~/", and holds has.
	file, has string
	outside   string // program of the host that prints the same for these arguments
}

var work = []string{"--unveil", "{work}:rw"}

var table = []program{
	{
		name:  "python3",
		graft: []string{"debian:python3.11", "--name", "python3"},
		wait:  []string{"-c", "import sys; sys.stdin.read()"},
		jobs: []job{
			{name: "modules", args: []string{"-c", "import ssl, sqlite3, ctypes, json, zlib, lzma, bz2\nprint(ssl.OPENSSL_VERSION, sqlite3.sqlite_version, ctypes.sizeof(ctypes.c_long))"},
				want: `OpenSSL .* 8`},
			{name: "byte code", args: []string{"-c", "import os, json; print(os.path.exists(json.__cached__))"}, want: "True"},
			{name: "hash a file", flags: work, args: []string{"-c", "import hashlib; print(hashlib.sha256(open('{work}/text','rb').read()).hexdigest())"},
				want: "a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447"},
			{name: "subprocess", flags: []string{"--pledge", "STDIO,RPATH,WPATH,EXEC"},
				args: []string{"-c", "import subprocess, sys; print(subprocess.run([sys.executable, '-c', 'print(6*7)'], capture_output=True, text=True, check=True).stdout)"}, want: "42"},
			{name: "threads", args: []string{"-c", "import concurrent.futures as f\nwith f.ThreadPoolExecutor(4) as e: print(sum(e.map(lambda x: x*x, range(100))))"}, want: "328350"},
			{name: "write HOME", args: []string{"-c", "import os; open(os.path.expanduser('~/out'),'w').write('from python')"}, file: "~/out", has: "from python"},
		},
		learn: &job{args: []string{"-c", `import os
p = os.path.expanduser("~/learnt")
with open(p, "w") as f: f.write("from python")
print(open(p).read())
os.remove(p)
pid = os.fork()
if pid == 0: os._exit(0)
os.waitpid(pid, 0)`}, want: "^from python$"},
		read: each("-c", "import sys\nfor p in sys.argv[1:]:\n try: open(p,'rb').read(1); print('READ', p)\n except OSError as e: print('no', e)"),
		list: each("-c", "import os, sys\nfor p in sys.argv[1:]:\n try: print('READ' if os.listdir(p) else 'empty', p)\n except OSError as e: print('no', e)"),
	},
	{
		name:  "git",
		graft: []string{"debian:git"},
		wait:  []string{"hash-object", "--stdin"},
		jobs: []job{
			{name: "init", flags: work, args: []string{"init", "-q", "-b", "main", "{work}/repository"}, file: "repository/.git/HEAD", has: "refs/heads/main"},
			{name: "add", flags: work, args: []string{"-C", "{work}", "--git-dir={work}/repository/.git", "--work-tree={work}", "add", "text"}},
			{name: "commit", flags: work, args: []string{"-C", "{work}", "--git-dir={work}/repository/.git", "--work-tree={work}", "-c", "user.name=N", "-c", "user.email=n@example.org", "commit", "-q", "-m", "first words"},
				file: "repository/.git/refs/heads/main", has: "\n"},
			{name: "status", flags: work, args: []string{"-C", "{work}", "--git-dir={work}/repository/.git", "--work-tree={work}", "status", "--porcelain", "--untracked-files=no"}, want: "^$"},
			{name: "log", flags: work, args: []string{"-C", "{work}", "--git-dir={work}/repository/.git", "--work-tree={work}", "--no-pager", "log", "--format=%s by %an"}, want: "first words by N"},
		},
		learn: &job{flags: []string{"--unveil", "{work}:r"}, args: []string{"-C", "{work}", "--git-dir={work}/repository/.git", "--work-tree={work}", "status", "--porcelain", "--untracked-files=no"}, want: "^$"},
		read:  alone(func(path string) []string { return []string{"hash-object", "--no-filters", path} }),
	},
	{
		name:  "sqlite3",
		graft: []string{"debian:sqlite3"},
		jobs: []job{
			{name: "create in HOME", args: []string{"{home}/own.db", "create table t(a,b); insert into t values(1,'one'),(2,'two'); select count(*) from t"}, want: "^2$", file: "~/own.db", has: "SQLite format 3"},
			{name: "query in HOME", args: []string{"{home}/own.db", "select b from t where a=2"}, want: "^two$"},
			{name: "create in a directory", flags: work, args: []string{"{work}/w.db", "pragma journal_mode=wal; create table t(a); insert into t select value from generate_series(1,1000); select sum(a) from t"},
				want: "500500", file: "w.db", has: "SQLite format 3"},
		},
		read: alone(func(path string) []string {
			return []string{":memory:", "select 'READ ' || length(readfile('" + path + "'))"}
		}),
	},
	{
		name:  "jq",
		graft: []string{"debian:jq"},
		wait:  []string{"."},
		jobs: []job{
			{name: "filter", args: []string{"-c", ".a | map(. * 2) | add"}, stdin: `{"a":[1,2,3]}`, want: "^12$"},
			{name: "regular expressions", args: []string{"-r", `.[] | select(test("^b"))`}, stdin: `["abc","bcd"]`, want: "^bcd$"},
		},
		read: alone(func(path string) []string { return []string{"-n", "--rawfile", "x", path, `"READ \($x|length)"`} }),
	},
	{
		name:  "vim-tiny",
		graft: []string{"debian:vim-tiny"},
		wait:  []string{"-u", "NONE", "-es", "-"},
		jobs: []job{
			{name: "edit a file", flags: work, args: []string{"-u", "NONE", "-n", "-es", "+%s/world/cell/", "+wq", "{work}/edited"}, file: "edited", has: "hello cell"},
		},
		read: alone(func(path string) []string {
			return []string{"-u", "NONE", "-n", "-es", "+0r " + path, "+%s/./READ &/", "+%print", "+qa!"}
		}),
	},
	{
		name:  "busybox-static",
		graft: []string{"debian:busybox-static"},
		wait:  []string{"cat"},
		jobs: []job{
			{name: "applets", flags: []string{"--pledge", "STDIO,RPATH,WPATH,EXEC"}, args: []string{"sh", "-c", "echo one two | awk '{print $2}' | tr a-z A-Z; seq 3 | sort -rn | head -n 1"}, want: "TWO\n3"},
			{name: "archive", flags: append([]string{"--pledge", "STDIO,RPATH,WPATH,EXEC"}, work...),
				args: []string{"sh", "-c", "cd {work} && tar -cf - text | gzip >a.tgz && gunzip -c a.tgz | tar -tf -"}, want: "^text$", file: "a.tgz", has: "\x1f\x8b"},
		},
		read: each("sh", "-c", `for p; do { read -r x || [ -n "$x" ]; } 2>/dev/null < "$p" && echo "READ $p"; done; :`, "sh"),
		list: each("sh", "-c", `for p; do for n in "$p"/*; do [ "$n" = "$p/*" ] || echo "READ $p"; done; done`, "sh"),
	},
	{
		name:  "nodejs",
		graft: []string{"debian:nodejs"},
		wait:  []string{"-e", "process.stdin.resume()"},
		jobs: []job{
			{name: "crypto and zlib", args: []string{"-e", "const z=require('zlib'),c=require('crypto');console.log(c.createHash('sha256').update(z.gunzipSync(z.gzipSync('hello world\\n'))).digest('hex'))"},
				want: "a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447"},
			{name: "files", flags: work, args: []string{"-e", "const fs=require('fs');fs.writeFileSync('{work}/n',fs.readFileSync('{work}/text','utf8').toUpperCase())"}, file: "n", has: "HELLO WORLD"},
			{name: "promises and timers", args: []string{"-e", "setTimeout(()=>Promise.all([1,2].map(async x=>x)).then(v=>console.log(v.length)),5)"}, want: "^2$"},
			{name: "worker thread", args: []string{"-e", "const {Worker}=require('worker_threads');new Worker('require(\"worker_threads\").parentPort.postMessage(6*7)',{eval:true}).on('message',m=>console.log(m))"}, want: "^42$"},
		},
		read: each("-e", "for(const p of process.argv.slice(1)){try{require('fs').readSync(require('fs').openSync(p),Buffer.alloc(1));console.log('READ',p)}catch(e){console.log('no',e.code)}}"),
		list: each("-e", "for(const p of process.argv.slice(1)){try{console.log(require('fs').readdirSync(p).length?'READ':'empty',p)}catch(e){console.log('no',e.code)}}"),
	},
	{
		name:  "gohello",
		graft: []string{"dir:{dir}", "--name", "gohello", "--version", "1.0"},
		stage: func(t testingT, dir string) { stageFile(t, dir+"/bin/gohello", fixture(t, "gohello")) },
		wait:  []string{"wait"},
		jobs: []job{
			{name: "hello", want: "^hello from Go$"},
			{name: "hash", flags: work, args: []string{"{work}/text"}, want: "^a948904f2f0f479b8f81"},
		},
		read: each(),
	},
	{
		name:  "greet",
		graft: []string{"dir:{dir}", "--name", "greet", "--version", "2.1", "--with", "dash", "--pledge", "STDIO,RPATH,WPATH,EXEC"},
		stage: func(t testingT, dir string) { stageText(t, dir+"/bin/greet", script) },
		wait:  []string{"wait"},
		jobs: []job{
			{name: "arguments", args: []string{"say", "a b", "c"}, want: "^2: a b, c$"},
			{name: "exit status", args: []string{"say"}, want: "^0:$"},
			{name: "write HOME", args: []string{"keep", "words"}, file: "~/kept", has: "words"},
		},
		read: each("read"),
		list: each("list"),
	},
}

// script is a package of its own: a shell script and the shell it needs.
const script = `#!/bin/sh
verb=$1
shift
case $verb in
wait) while read -r x; do :; done ;;
say) n=$#; IFS=,; set -- "$1" "${2-}"; echo "$n: $1${2:+, $2}" ;;
keep) echo "$1" >"$HOME/kept" ;;
read) for p; do { read -r x || [ -n "$x" ]; } 2>/dev/null <"$p" && echo "READ $p"; done; : ;;
list) for p; do for n in "$p"/*; do [ "$n" = "$p/*" ] || echo "READ $p"; done; done ;;
esac
`

// each is one run for all paths.
func each(before ...string) func([]string) [][]string {
	return func(paths []string) [][]string { return [][]string{append(append([]string{}, before...), paths...)} }
}

// alone is a run for each path.
func alone(line func(path string) []string) func([]string) [][]string {
	return func(paths []string) (lines [][]string) {
		for _, p := range paths {
			lines = append(lines, line(p))
		}
		return lines
	}
}
