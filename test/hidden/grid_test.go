package hidden

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// block is calls that belong together, as one changes what the next gives. Each
// begins and ends in HOME.
type block struct {
	about string
	calls []string
	apart bool // a chroot has nothing of the kind: the ways are compared with each other
}

const home = "chdir /Data/apps/probe"

// Names of every kind; those of the second list mean nothing in a chroot: one
// directory under several names, /proc, and what leads there.
const (
	names = `{far}/u/x {far}/u/x/ {far}/u/x/. {far}/u/x/.. {far}/u/x/../ {far}/u/x/file {far}/u/x/file/ {far}/u/x/file/. {far}/u/x/file/..
		{far}/u/x/sub/../file {far}/u/x/none {far}/u/x/none/.. {far}/u {far}/u/ {far}/u/. {far}/u/.. {far} {far}/ {far}/.. {far}/../..
		{far}/u/file {far}/u/file/ {far}/u/file/. {far}/u/file/x {far}/u/hidden {far}/u/hidden/secret {far}/u/hidden/.. {far}/u/../u/file
		{far}/u/./x/../file {far}/u/none {far}/none {far}/u/r {far}/u/r/in {far}/u/r/in/.. {far}/u/r/in/../plain {far}/u/r/in/inner
		{far}/u/r/in/../../x/file {far}/u/r/inside {far}/u/r/across {far}/u/r/in/../in/../in {far}/many {far}/many/0 {far}/many/0/name
		{far}/many/11 {far}/many/11/name {far}/many/11/.. {far}/many/11/../0/name {far}/many/12 {far}/many/0/../11/name
		{far}/u/x/home {far}/u/x/home/ {far}/u/x/home/.. {far}/u/x/tmp {far}/u/x/tmp/ {far}/u/x/tmp/b {far}/u/x/work
		{far}/u/x/work/sub/below {far}/u/x/beside {far}/u/x/beside/inner {far}/u/x/beside/.. {far}/u/x/file2 {far}/u/x/file2/
		{far}/u/x/hidden {far}/u/x/hidden/secret {far}/u/x/bin {far}/u/x/bin/probe {far}/u/x/bin/.. {far}/u/x/top {far}/u/x/top/
		{far}/u/x/top/tmp {far}/u/x/top{far} {far}/u/x/upper {far}/u/x/upper/ {far}/u/x/upper/r {far}/u/x/upper/file {far}/u/x/upper/hidden
		{work}/view {work}/up {work}/up/probe {work}/.. {work}/../work/sub {work}/../none / // /. /./ /.. /../ /../../.
		/tmp /tmp/ /tmp/. /tmp/.. /tmp/../tmp /tmp/./b /var /var/ /var/.. /dev /dev/ /dev/. /dev/.. /dev/null /dev/null/ /dev/null/.. /dev/none
		/dev/../dev/null /tmp/../dev/null /usr/../dev/null /Data /Data/ /Data/. /Data/.. /Data/apps /Data/apps/ /Data/apps/..
		/Data/apps/probe /Data/apps/probe/ /Data/apps/probe/.. /Data/apps/probe/../probe /Data/apps/none /Data/none /Cell/.. /Cell/none
		/Programs /Programs/ /Programs/.. /Programs/probe /Programs/probe/1.0 /Programs/probe/1.0/bin /Programs/probe/1.0/bin/../../../../tmp
		/usr /usr/ /usr/. /usr/.. /usr/../ /usr/usr /usr/usr/ /usr/usr/bin/probe /usr/tmp /usr/tmp/b /usr/Data/apps/probe /usr/dev
		/usr/dev/null /usr/var /usr/bin /usr/bin/ /usr/bin/.. /usr/bin/../.. /usr/bin/../../.. /usr/home /usr{far}/u /usr{far}/u/x/file
		/bin /bin/ /bin/. /bin/.. /bin/../.. /bin/../../../.. /bin/../../../../tmp/b /bin/../../../..{far}/u/x/file /usr/../home /usr/../tmp
		/usr/../tmp/b /usr/../Data/apps/probe /usr/..{far}/u/x/file /usr/..{far}/u/x/.. /usr/..{far}/u /lib /lib/ /lib/none /lib/none/..
		/lib/../lib/libc.so.6 /lib/libc.so.6/ /lib/libc.so.6/.. /bin/probe /bin/probe/ /bin/probe/. /bin/probe/.. /bin/none /bin/none/..
		/none /none/ /none/.. /none/../tmp /etc /etc/passwd /home /home/ /home/. /home/.. /home/none /home/../home /home/./none /root
		/var/lib /var/none /{long} /tmp/{long} {far}/u/x/{long} {far}/u/{long} /bin/{long} /none/{long} {view}/bin/probe {view}/usr/bin/probe`
	apartNames = `/var/tmp /var/tmp/ /var/tmp/b /var/tmp/.. /usr/var/tmp /usr/var/tmp/b /dev/shm /dev/shm/ /dev/shm/b /dev/shm/.. /dev/shm/../null
		/usr/dev/shm/b /dev/fd /dev/fd/ /dev/fd/0 /dev/stdin /dev/fd/.. /proc /proc/ /proc/.. /proc/../tmp /usr/../proc/.. /proc/self /proc/self/
		/proc/self/exe /proc/self/cwd /proc/self/cwd/ /proc/self/cwd/new /proc/self/root /proc/self/root/bin/probe /proc/self/root/.. /proc/self/none
		/proc/self/status /proc/self/status/ /proc/self/status/x /proc/meminfo /proc/none /proc/1 /proc/self/../meminfo {far}/u/x/proc
		{far}/u/x/proc/exe {far}/u/x/null {work}/../.. {work}/../../. {view} {view}/ {view}/.. {view}/../1.0/bin/probe {view}/tmp {view}{far}/u
		{view}{far}/u/x/file /Cell /Cell/ /Cell/self /Cell/self/ /Cell/self/tmp /Cell/self/run /Cell/self/.. /Cell/self/tmp/b`
	relative = `. .. ./ ../ ./. ../.. ../../.. tmp tmp/ tmp/b ./tmp/.. tmp/../tmp/b dev/null dev usr usr/ usr/.. usr/../tmp usr/bin/probe usr/tmp/b
		usr/none bin bin/ bin/probe bin/../bin Data Data/apps Data/apps/probe Data/apps/../.. lib/libc.so.6 home home/ home/.. none none/..
		none/x x x/ x/file x/.. x/../file r r/in/inner r/plain file file/ u u/x/file u/file u/../u/file hidden hidden/secret ../u ../u/file
		../u/x/file ../hidden in in/.. in/inner inside across probe b many/11/name 11/name 1.0 apps null b ../tmp/b ../../tmp/b ../../../tmp/b
		../../../../../../../tmp/b ../../../../../../../..{far}/u/x/file upper top/tmp work/file usr/home usr/..{far}/u/file`
	places = `/ /tmp /usr /usr/.. /dev /Data /Data/apps /Programs /Programs/probe /bin /lib {far} {far}/u {far}/u/x {far}/u/x/sub {far}/u/r
		{far}/u/r/in {far}/many {far}/many/0 {far}/many/11 /home {work} {work}/sub {far}/u/x/top {far}/u/x/upper {far}/u/x/beside {far}/u/x/tmp`
	apartPlaces = `/var /usr/var /var/tmp /dev/shm /Cell /Cell/self/tmp {work}/.. {view} {view}/usr {view}{far} /proc/self/root /dev/fd`
)

// grid returns the calls that are made with all names alike. The answers are in
// no table: it would be long, and who tells them is a chroot.
func grid() (list []block) {
	add := func(about string, apart bool, calls ...string) {
		list = append(list, block{about, append(calls, home), apart})
	}
	add("what is there", false, "write /tmp/b text", "write new text", "write {far}/u/x/new text")
	for i, group := range []string{names, apartNames} {
		for name := range strings.FieldsSeq(group) {
			add("look at "+name, i > 0, looksAt(name)...)
			if name != "/proc/self/exe" {
				add("go to "+name, i > 0, "chdir "+name, "getcwd", "stat .", "realpath .", "stat ..", "realpath ..", "stat b", "stat file", "stat sub/../file")
			}
		}
	}
	for i, group := range []string{places, apartPlaces} {
		for dir := range strings.FieldsSeq(group) {
			add("relative to "+dir, i > 0, relativeTo(dir)...)
			add("from a descriptor of "+dir, i > 0, fromDescriptor(dir)...)
			add("list "+dir, i > 0, "kinds "+dir, "list "+dir+"/", "kinds "+dir+"/.", "chdir "+dir, "kinds .", "list ./usr", "list tmp/..", "list .."+dir)
		}
	}
	return append(list, changesGrid()...)
}

func looksAt(n string) (list []string) {
	for _, c := range []string{
		"stat %", "lstat %", "realpath %", "statfs %", "fopen %", "access % 4", "access % 2", "faccess2 % NOLINK", "readlink - %", "statx - % NOLINK",
		"open % RDONLY|DIRECTORY", "open % PATH|DIRECTORY", "open % PATH", "open % RDONLY|NOFOLLOW|NONBLOCK", "open % WRONLY|NONBLOCK", "exec %", "getxattr % user.none",
	} {
		if !strings.HasPrefix(c, "exec") || !strings.Contains(n, "/exe") && !strings.HasSuffix(n, "probe") && !strings.HasSuffix(n, "view") && !strings.Contains(n, "libc") {
			list = append(list, strings.ReplaceAll(c, "%", n))
		}
	}
	return list
}

func relativeTo(dir string) []string {
	list := []string{"chdir " + dir, "getcwd"}
	for r := range strings.FieldsSeq(relative) {
		list = append(list, "stat "+r, "lstat "+r, "access "+r+" 4", "open "+r+" RDONLY|NONBLOCK")
	}
	for _, r := range []string{".", "..", "tmp", "x", "usr/..", "none", "file"} {
		list = append(list, "realpath "+r, "readlink - "+r, "statfs "+r, "statx - "+r+" NOLINK")
	}
	return append(list, "chdir tmp", "getcwd", "chdir ..", "getcwd", "chdir "+dir, "chdir x/sub", "getcwd", "chdir "+dir, "chdir ..", "getcwd", "stat tmp", "stat u/x/file")
}

func fromDescriptor(dir string) (list []string) {
	for r := range strings.FieldsSeq(relative) {
		list = append(list, "fstatat "+dir+" "+r+" 0", "openat "+dir+" "+r+" RDONLY|NONBLOCK", "openat "+dir+" "+r+" PATH")
	}
	return append(list, "fchdir "+dir, "getcwd", "stat tmp", "stat x/file", "stat ../file", "stat usr/bin/probe", "openat . usr/../tmp RDONLY",
		"readlink "+dir+" tmp", "statx "+dir+" - EMPTY", "statx "+dir+" x/file NOLINK", "fstatat "+dir+" - EMPTY")
}

// changesGrid are blocks that make, change and remove, and start programs.
func changesGrid() (list []block) {
	add := func(about string, apart bool, calls ...string) {
		list = append(list, block{about, append(calls, home), apart})
	}
	ends := [][2]string{
		{"tmp", "/tmp/b"}, {"home", "/Data/apps/probe/new"}, {"far", "{far}/u/x/new"}, {"work", "{work}/file"}, {"view", "/usr/bin/probe"}, {"dev", "/dev/null"},
		{"way", "{far}/u"}, {"root", "/"}, {"hidden", "{far}/u/hidden/secret"}, {"host", "/etc/passwd"}, {"single", "{far}/u/file"}, {"many", "{far}/many/11/name"},
		{"listed", "/home"}, {"usr", "/usr"}, {"hole", "/Data"}, {"nested", "{far}/u/r/in/inner"}, {"outer", "{work}/../.."},
	}
	for _, at := range []string{"/tmp", "/Data/apps/probe", "{far}/u/x", "{work}"} {
		for _, e := range ends {
			for i, text := range []string{e[1], strings.Repeat("../", 12) + e[1][1:]} {
				n := at + "/" + []string{"a-", "r-"}[i] + e[0]
				add("link from "+n, false, "symlink "+text+" "+n, "stat "+n, "lstat "+n, "realpath "+n, "open "+n+" RDONLY|NONBLOCK", "open "+n+" PATH",
					"open "+n+" RDONLY|NOFOLLOW", "access "+n+" 4", "faccess2 "+n+" NOLINK", "stat "+n+"/", "stat "+n+"/x", "chdir "+n, "getcwd", home,
					"statfs "+n, "list "+n, "kinds "+n+"/", "readlink - "+n)
			}
		}
		add("a link inside from "+at, false, "symlink {below} "+at+"/in", "stat "+at+"/in", "stat "+at+"/in/file", "list "+at+"/in", "chdir "+at+"/in", "getcwd", home, "realpath "+at+"/in",
			"open "+at+"/in PATH", "open "+at+"/in/sub/below RDONLY", "open "+at+"/in RDONLY", "access "+at+"/in 4")
		add("a chain of links from "+at, false, "symlink a-tmp "+at+"/chain", "stat "+at+"/chain", "open "+at+"/chain WRONLY", "symlink "+at+"/chain /tmp/back",
			"stat /tmp/back", "unlink /tmp/back")
		add("write through links in "+at, false, "write "+at+"/a-tmp changed", "read /tmp/b", "write "+at+"/r-far changed", "read {far}/u/x/new", "write "+at+"/a-view x",
			"write "+at+"/a-host x", "write "+at+"/r-hidden x", "write "+at+"/a-single x", "open "+at+"/a-root/none WRONLY|CREAT", "open "+at+"/a-way/none WRONLY|CREAT")
	}
	for dir := range strings.FieldsSeq("{far}/u {far} / /home /Data /Data/apps /dev /usr /usr/.. /var /bin {far}/u/r {far}/many {far}/many/11 /Programs") {
		add("make and remove in "+dir, false, "open "+dir+"/made WRONLY|CREAT", "open "+dir+"/made WRONLY|CREAT|EXCL", "open "+dir+"/made/ WRONLY|CREAT", "mkdir "+dir+"/made",
			"mkfifo "+dir+"/made", "symlink x "+dir+"/made", "stat "+dir+"/made", "rename "+dir+"/made /tmp/x", "unlink "+dir+"/made", "rmdir "+dir+"/made",
			"open "+dir+" WRONLY|CREAT", "open "+dir+" RDONLY|CREAT|EXCL", "open "+dir+"/ RDONLY|CREAT", "open "+dir+" RDWR|TMPFILE", "rmdir "+dir, "unlink "+dir, "mkdir "+dir, "chmod "+dir)
	}
	for i, group := range []string{"{far}/u/x {far}/u/r/in /tmp /Data/apps/probe {work}", "/var/tmp /dev/shm /Cell/self/tmp /Cell/self/run"} {
		for dir := range strings.FieldsSeq(group) {
			add("make and remove in "+dir, i > 0, "open "+dir+"/made WRONLY|CREAT|EXCL", "open "+dir+"/made WRONLY|CREAT|EXCL", "open "+dir+"/made RDWR|CREAT|TRUNC|CLOEXEC", "fopen "+dir+"/made",
				"rename "+dir+"/made "+dir+"/made2", "stat "+dir+"/made", "stat "+dir+"/made2", "truncate "+dir+"/made2", "stat "+dir+"/made2", "unlink "+dir+"/made2",
				"open "+dir+"/made2/ WRONLY|CREAT", "mkdir "+dir+"/dir", "open "+dir+"/dir/../in2 WRONLY|CREAT", "rmdir "+dir+"/dir", "unlink "+dir+"/in2", "open "+dir+" RDWR|TMPFILE",
				"open "+dir+" WRONLY|CREAT", "open "+dir+"/ RDONLY|CREAT|EXCL", "rmdir "+dir, "unlink "+dir, "mkdir "+dir)
			add("work in "+dir, i > 0, "chdir "+dir, "open new3 WRONLY|CREAT", "stat new3", "stat ./new3", "unlink new3", "mkdir dir3", "chdir dir3", "getcwd", "rmdir ../dir3", "getcwd", "stat .",
				"stat ..", "open x WRONLY|CREAT")
		}
	}
	add("what may only be read", false, "write {far}/u/file x", "truncate {far}/u/file", "unlink {far}/u/file", "write {far}/u/r/plain x", "unlink {far}/u/r/plain", "write {far}/u/r/in/made x",
		"read {far}/u/r/in/made", "unlink {far}/u/r/in/made", "read {far}/u/file", "read {far}/u/r/inside", "read {far}/u/r/across", "read {far}/many/11/name", "read {far}/u/x/file2")
	add("hard links and moves", false, "link {far}/u/x/file {far}/u/x/hard", "rename {far}/u/x/hard {far}/u/x/hard2", "stat {far}/u/x/hard2", "unlink {far}/u/x/hard2")
	for _, dir := range []string{"/tmp", "{far}/u/x", "/Data/apps/probe"} {
		add("moved and removed directories in "+dir, false, "mkdir "+dir+"/gone", "mkdir "+dir+"/gone/in", "chdir "+dir+"/gone/in", "getcwd", "rename "+dir+"/gone "+dir+"/went", "getcwd", "stat ../in",
			"rmdir "+dir+"/went/in", "getcwd", "stat .", "open . RDONLY", "realpath .", "open new WRONLY|CREAT", home, "rmdir "+dir+"/went")
	}
	for i, group := range []string{"/ /tmp {far}/u/x {far}/u /home /usr /bin {work}/sub /Data/apps/probe {far}/many/11 {far}/u/x/beside", "/var/tmp /dev/shm {view} /proc/self/cwd"} {
		for dir := range strings.FieldsSeq(group) {
			for _, how := range []string{"chdir ", "syschdir ", "rawchdir "} {
				calls := []string{how + dir}
				for c := range strings.SplitSeq("getcwd,stat .,stat ..,stat tmp/b,stat file,realpath .,list .,open .. PATH", ",") {
					calls = append(calls, "spawn {view}/bin/native "+c)
				}
				add(how+dir+" and start", i > 0, append(calls, "spawn {view}/bin/probe getcwd", "fork {view}/bin/native getcwd", "getcwd", "stat ../usr")...)
			}
		}
	}
	add("past the C library and back", false, "rawchdir /tmp", "getcwd", "chdir ..", "getcwd", "rawchdir tmp", "getcwd", "fchdir {far}/u/x", "getcwd", "stat file", "rawchdir sub", "getcwd", "chdir ..", "getcwd", "stat file")
	for n := range strings.FieldsSeq(`/bin/native /usr/bin/native /Programs/probe/1.0/bin/native /bin/../bin/native /bin/native/ /bin/none /none /tmp /tmp/b {far}/u/x/file /usr/../bin/native
		{far}/u/x/bin/native /lib {view}/usr/bin/native {view}/bin/none {far}/u/hidden/secret /etc/passwd`) {
		add("start "+n, false, "spawn "+n+" getcwd", "fork "+n+" getcwd")
	}
	add("start by relative names", false, "chdir /bin", "spawn ./native getcwd", "spawn native getcwd", "spawn ../bin/native getcwd", "chdir /", "spawn bin/native getcwd", "spawn usr/bin/native stat tmp")
	return list
}

// TestGrid makes the calls of the grid in every way.
func TestGrid(t *testing.T) {
	blocks := grid()
	var calls []string
	for _, b := range blocks {
		calls = append(calls, b.calls...)
	}
	s := newStage(t)
	answers := map[string][]string{
		"asked":  s.inCell(t, "probe", "rw", calls),
		"native": s.inCell(t, "native", "rw", calls),
		"forced": s.inCell(t, "native", "rwx", calls),
	}
	if os.Geteuid() == 0 {
		answers["chroot"] = s.inChroot(t, "probe", calls)
		answers["chroot of C"] = s.inChroot(t, "native", calls)
	}
	at := 0
	for _, b := range blocks {
		for _, call := range b.calls {
			want := "chroot"
			if b.apart || answers[want] == nil {
				want = "forced"
			}
			for way, got := range answers {
				if b.apart && strings.HasPrefix(way, "chroot") || agrees(way, b.about, call, got[at], answers[want][at]) {
					continue
				}
				t.Errorf("%s: %s: %s: %s, want %s", way, b.about, call, got[at], answers[want][at])
			}
			at++
		}
	}
}

// differences are what cells answer otherwise than a chroot, or one way otherwise
// than another, with the reason; see "What differs" in DESIGN.md.
var differences = []struct {
	ways            string // those that differ, with commas between
	call, got, want string // expressions for all of the text
}{
	// The kernel lets a supervisor hand over no path descriptor, and what a cell
	// gets instead is one for reading, of files and directories only.
	{"asked,native,forced", ".* PATH", "EACCES", "ok type 20000 .*"},
	// Placeholders of devices are files: making devices is root's.
	{"asked,native,forced", "list /dev.*: kinds .*", ".*null:-c.*", ".*null:cc.*"},
	// The view's own name on the host leads to the view alone: what is unveiled
	// beside it is not seen from there.
	{"native", "(relative to|from a descriptor of|list) {view}.*", "ENOENT|(ok )?Cell.*", ".*"},
	// Two programs have two names; one library says ENOTSUP, the other EOPNOTSUPP.
	{"asked", ".*/proc.*/exe", ".*/bin/probe", ".*/bin/native"},
	{"asked", ".*", "ENOTSUP ?", "EOPNOTSUPP ?"},
	{"native", "(sys)?chdir {view} and start: .*", "ok Cell.*", "ok Cell.*"},
	// What leads to a root is a mount point: it stays.
	{"asked,native,forced", ".*: (rmdir|unlink) .*", "EBUSY", "EACCES|ENOTEMPTY|EISDIR"},
	{"asked,native,forced", "make and remove in .*: open .*/ RDONLY.CREAT.EXCL", "EEXIST", "EISDIR"},
	// The kernel executes what it finds by the same name on the host; the shim
	// what is below a root without going by another.
	{"asked,forced", "start .*", "ENOENT", "ok ok .*"},
	{"native", "start .*", "ok ok .*", "ENOENT"},
	{"native", "start (by relative names|{far}/u/x/bin/native): .*", "ENOENT", "ok ok .*"},
	// Above a directory that was removed there is nothing.
	{"asked,native,forced", "work in .*: stat \\.\\.", "ENOENT", "ok directory .*"},
}

// agrees reports whether the two answers are the same, or differ as they may.
// Ways work in directories of their own.
func agrees(way, about, call, got, want string) bool {
	own := regexp.MustCompile(`\bway[0-9]{2}\b`)
	got, want = own.ReplaceAllString(got, "way"), own.ReplaceAllString(want, "way")
	if got == want {
		return true
	}
	for _, d := range differences {
		if strings.Contains(","+d.ways+",", ","+way+",") && match(d.call, about+": "+call) && match(d.got, got) && match(d.want, want) {
			return true
		}
	}
	return false
}

func match(expression, text string) bool {
	return regexp.MustCompile("^(?:" + expression + ")$").MatchString(text)
}
