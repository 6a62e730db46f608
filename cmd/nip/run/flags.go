package run

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"strings"

	"nipcells/internal/capability"
	"nipcells/internal/hier"
)

// Options is what the flags of `nip run` say, not yet interpreted.
type Options struct {
	root     string
	quiet    bool
	unveil   list
	pledge   string
	net      list
	env      list
	user     string
	budget   string
	deny     bool
	degraded bool
	stats    bool
	learn    learnTo
	detach   bool
	cwd      string

	target    string   // PACKAGE[/COMMAND]
	args      []string // the program's
	pledgeSet bool
}

// list is a flag that may be repeated.
type list []string

func (l *list) String() string     { return strings.Join(*l, ", ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// Shorthands of the flags, by their long names.
var Shorthands = map[string]string{"detach": "d", "quiet": "q"}

// Flags returns the flags of `nip run`, which fill o. The standard library's
// parser is enough for them and starts in no time.
func Flags(o *Options) *flag.FlagSet {
	f := flag.NewFlagSet("run", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Var(&o.unveil, "unveil", "make `PATH[:rwxc]` visible in the cell: read, write, execute, create (default r); may be repeated")
	f.StringVar(&o.pledge, "pledge", "", "what the program may do, instead of what its package asks: `LIST` of STDIO, RPATH, WPATH, CPATH, FATTR, INET, UDP, UNIX, TTY, EXEC, PROC, with commas; -WORD takes a part away; NONE")
	f.Var(&o.net, "net", "whom the sockets of INET and UDP reach, instead of what its package asks: `RULE` is [tcp:|udp:|listen:]HOST[:PORTS], such as example.org:443, loopback:5432, listen:8080, dns (default: all but the host itself); may be repeated")
	f.Var(&o.env, "env", "set the environment variable `NAME=VALUE`, or pass NAME on from here; may be repeated")
	f.StringVar(&o.budget, "budget", "", "`LIMITS` such as memory=256M,fibers=64,cpu=50%,disk=1G,io=20M/s,spectrum=gravity; this version enforces cpu, memory and spectrum")
	f.StringVar(&o.cwd, "cwd", "", "start in the `DIRECTORY` (default: the current one if it is visible in the cell, else the home)")
	f.StringVar(&o.user, "user", "", "as root: run as `UID[:GID]`, or as the user of that name")
	f.BoolVar(&o.deny, "deny", false, "answer what the pledge forbids with an error instead of killing the process")
	f.BoolVar(&o.stats, "stats", false, "say at the end how many path calls went on in the kernel and how many were asked, by call; all are slower then")
	f.Var(&o.learn, "learn", "say at the end what the program used, as lines of a recipe, or write that to a file: `[=FILE]`; what its pledge forbids is refused as with --deny, and all is slower")
	f.BoolVar(&o.degraded, "allow-degraded", false, "run on a kernel that cannot enforce everything, and say what is missing")
	f.BoolVar(&o.detach, "detach", false, "print the fiber-id and go on in the background; see nip logs, nip stop")
	return f
}

// UsageError reports a command line that makes no sense.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// ErrHelp is returned by Parse if help is asked for.
var ErrHelp = flag.ErrHelp

// Parse reads the arguments of `nip run`. The error is a *UsageError or ErrHelp.
func Parse(args []string) (*Options, error) {
	o := new(Options)
	f := Flags(o)
	f.BoolVar(&o.detach, Shorthands["detach"], false, "")
	f.BoolVar(&o.quiet, "quiet", false, "")
	f.BoolVar(&o.quiet, Shorthands["quiet"], false, "")
	f.StringVar(&o.root, "root", "", "")
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil, ErrHelp
	} else if err != nil {
		return nil, &UsageError{longNames(err)}
	}
	rest := f.Args()
	if len(rest) == 0 {
		return nil, &UsageError{errors.New("no package given")}
	}
	o.target, o.args = rest[0], rest[1:]
	if len(o.args) > 0 && o.args[0] == "--" {
		o.args = o.args[1:]
	}
	if o.learn == learnHere && o.detach {
		return nil, &UsageError{errors.New("--learn says what was used when the program has ended: with --detach it needs a file, --learn=FILE")}
	}
	f.Visit(func(f *flag.Flag) { o.pledgeSet = o.pledgeSet || f.Name == "pledge" })
	return o, nil
}

// longNames words what the standard library says about flags as the other verbs
// do, whose flags have two dashes.
func longNames(err error) error {
	for _, words := range [][2]string{
		{"flag provided but not defined: -", "unknown flag: "},
		{"flag needs an argument: -", "flag needs an argument: "},
	} {
		if name, ok := strings.CutPrefix(err.Error(), words[0]); ok {
			return errors.New(words[1] + strings.Repeat("-", min(2, len(name))) + name)
		}
	}
	return err
}

// Cut looks for the verb run behind nothing but global flags, and returns the
// arguments that follow it with these flags put before them.
func Cut(args []string) ([]string, bool) {
	for i := 0; i < len(args); i++ {
		switch a := args[i]; {
		case a == "run":
			return append(args[:i:i], args[i+1:]...), true
		case a == "--root":
			i++
		case a == "-q" || a == "--quiet" || strings.HasPrefix(a, "--root="):
		default:
			return nil, false
		}
	}
	return nil, false
}

// packageAndCommand splits PACKAGE[/COMMAND].
func (o *Options) packageAndCommand() (pkg, command string) {
	pkg, command, _ = strings.Cut(o.target, "/")
	return pkg, command
}

// ownRoot returns the caller's root. With create it is made if it is missing:
// programs of the system-wide root keep their cells, data and ledger in the
// caller's own.
func (o *Options) ownRoot(create bool) (*hier.Root, error) {
	path, err := hier.Default(o.root, os.Getenv("NIP_ROOT"), os.Geteuid())
	if err != nil {
		return nil, err
	}
	root, err := hier.Open(path)
	if create && errors.Is(err, os.ErrNotExist) {
		return hier.Create(path)
	}
	return root, err
}

// changes returns what the flags change of the package's rights. Relative paths
// count from cwd.
func (o *Options) changes(cwd string) (c capability.Changes, err error) {
	if o.pledgeSet {
		c.SetsPledge = true
		if c.Pledge, err = capability.ParsePledgeList(o.pledge); err != nil {
			return c, &UsageError{err}
		}
	}
	for _, s := range o.unveil {
		u, err := capability.ParseUnveil(s, cwd)
		if err != nil {
			return c, &UsageError{err}
		}
		c.Unveil = append(c.Unveil, u)
	}
	for _, s := range o.net {
		rules, err := capability.ParseNet(s)
		if err != nil {
			return c, &UsageError{err}
		}
		c.Net = append(c.Net, rules...)
	}
	if c.Budget, err = capability.ParseBudget(o.budget); err != nil {
		return c, &UsageError{err}
	}
	return c, nil
}

// environment returns the variables of --env as NAME=VALUE. A bare NAME that is
// not set here is left out, as the person's shell would.
func (o *Options) environment() ([]string, error) {
	var out []string
	for _, e := range o.env {
		name, _, given := strings.Cut(e, "=")
		if name == "" || strings.IndexByte(e, 0) >= 0 {
			return nil, &UsageError{fmt.Errorf("environment %q: want NAME=VALUE or NAME", e)}
		}
		if !given {
			value, ok := os.LookupEnv(name)
			if !ok {
				continue
			}
			e = name + "=" + value
		}
		out = append(out, e)
	}
	return out, nil
}

// credentials returns the user and group of --user; ok is false if the flag was
// not given. A user given by number without a group has the group that the
// system's user database says, else the one of the same number. Whether the
// caller may become that user is not decided here.
func (o *Options) credentials() (uid, gid int, ok bool, err error) {
	if o.user == "" {
		return 0, 0, false, nil
	}
	name, group, hasGroup := strings.Cut(o.user, ":")
	uid, err = parseID(name)
	gid = uid
	var known *user.User
	if err != nil {
		known, err = user.Lookup(name)
	} else if !hasGroup {
		known, _ = user.LookupId(name) // unknown numbers are fine
	}
	if err == nil && known != nil {
		if uid, err = parseID(known.Uid); err == nil {
			gid, err = parseID(known.Gid)
		}
	}
	if err == nil && hasGroup {
		gid, err = parseID(group)
	}
	if err != nil {
		return 0, 0, false, &UsageError{fmt.Errorf("user %q: want UID[:GID] or the name of a user", o.user)}
	}
	return uid, gid, true, nil
}

// parseID reads a user or group id. The highest number means "no change" to the
// kernel and is none.
func parseID(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 1<<32-1 {
		return 0, fmt.Errorf("id %q: want a number below 4294967295", s)
	}
	return int(n), nil
}
