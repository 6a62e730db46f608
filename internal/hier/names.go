package hier

import "fmt"

// Component reports why s cannot be one name in a path: it is empty, longer
// than 255 bytes, starts with a dot, or holds a slash or a control character.
// The error wraps ErrName.
func Component(s string) error {
	if s == "" || len(s) > 255 || s[0] == '.' {
		return fmt.Errorf("%q: %w", s, ErrName)
	}
	for i := range len(s) {
		if s[i] == '/' || s[i] < ' ' || s[i] == 0x7f {
			return fmt.Errorf("%q: %w", s, ErrName)
		}
	}
	return nil
}

// The methods below name the places of DESIGN.md's table. Their arguments are
// single names; one that is not (see Component) becomes a NUL byte, which every
// system call refuses with EINVAL: no argument leads elsewhere.

func part(s string) string {
	if Component(s) != nil {
		return "\x00"
	}
	return s
}

// Programs is where packages' files live.
func (r *Root) Programs() string { return r.Join("Programs") }

// Title is the directory of all versions of a package: Programs/<Title>.
func (r *Root) Title(title string) string { return r.Join("Programs/" + part(title)) }

// Program is the directory of one package's files: Programs/<Title>/<Version>.
func (r *Root) Program(title, version string) string {
	return r.Join("Programs/" + part(title) + "/" + part(version))
}

// Current is the symlink Programs/<Title>/Current to the active version.
func (r *Root) Current(title string) string { return r.Join("Programs/" + part(title) + "/Current") }

// Views is where packages' views live.
func (r *Root) Views() string { return r.Join("System/Views") }

// View is the root directory of a package's cells: System/Views/<Title>/<Version>.
func (r *Root) View(title, version string) string {
	return r.Join("System/Views/" + part(title) + "/" + part(version))
}

// Bin is the directory of launchers that a person puts on PATH.
func (r *Root) Bin() string { return r.Join("System/Index/bin") }

// Launcher is one command in Bin.
func (r *Root) Launcher(command string) string { return r.Join("System/Index/bin/" + part(command)) }

// Cells holds a directory for each running cell.
func (r *Root) Cells() string { return r.Join("Cell") }

// Cell is the private state of one running cell: Cell/<fiber-id>.
func (r *Root) Cell(fiber string) string { return r.Join("Cell/" + part(fiber)) }

// AppData is the persistent data of a package, its HOME: Data/apps/<name>.
func (r *Root) AppData(name string) string { return r.Join("Data/apps/" + part(name)) }

// Bus holds ring endpoints.
func (r *Root) Bus() string { return r.Join("Bus") }

// Cas is the store.
func (r *Root) Cas() string { return r.Join("Cas") }

// Loader is what PT_INTERP of located executables names: Cas/ld/<64 digits>.
func (r *Root) Loader(cid string) string { return r.Join("Cas/ld/" + part(cid)) }

// Records holds the records of installed packages.
func (r *Root) Records() string { return r.Join("Nexus/packages") }

// Record is the record of one installed package: Nexus/packages/<name>/<version>.
func (r *Root) Record(name, version string) string {
	return r.Join("Nexus/packages/" + part(name) + "/" + part(version))
}

// Staging holds the trees of installs that have not committed.
func (r *Root) Staging() string { return r.Join("Nexus/staging") }

// Keys holds the own key and the trusted keys.
func (r *Root) Keys() string { return r.Join("Nexus/keys") }

// Ledger is the ledger.
func (r *Root) Ledger() string { return r.Join("Nexus/ledger") }

// Policy is the host's policy file; it need not exist.
func (r *Root) Policy() string { return r.Join("Nexus/policy.kdl") }

// Overrides is what the person has decided about the rights of a package, or of
// all packages if name is empty; it need not exist.
func (r *Root) Overrides(name string) string {
	if name == "" {
		return r.Join("Nexus/overrides.kdl")
	}
	return r.Join("Nexus/overrides/" + part(name) + ".kdl")
}

// Held is there if a version of a package asks for more than the active one was
// given and nobody has accepted that: Nexus/held/<name>/<version>.
func (r *Root) Held(name, version string) string {
	return r.Join("Nexus/held/" + part(name) + "/" + part(version))
}

// Plans holds the launch plans of one package: Nexus/plans/<name>.
func (r *Root) Plans(name string) string { return r.Join("Nexus/plans/" + part(name)) }

// Log is the output of one cell: Nexus/log/<fiber-id>.
func (r *Root) Log(fiber string) string { return r.Join("Nexus/log/" + part(fiber)) }
