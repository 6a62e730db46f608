package npk

import (
	"bytes"
	"strconv"

	"nipcells/internal/capability"
	"nipcells/internal/npk/kdl"
)

// KDL returns the recipe's canonical text: fixed order, four spaces, nothing
// that says what is the default anyway. ParseRecipe turns the text of a recipe
// that Check accepts into an equal recipe.
func (r *Recipe) KDL() []byte {
	w := &recipeWriter{}
	w.WriteString("package " + kdl.Quote(r.Name) + " version=" + kdl.Quote(r.Version) + " {\n")
	w.text("summary", r.Summary)
	if r.Title != r.Name {
		w.text("title", r.Title)
	}
	w.text("arch", r.Arch)
	w.text("source", r.Source)
	w.line("depends", r.Depends...)
	for _, c := range r.Commands {
		w.command(c)
	}
	if words := r.Pledge.Words(); len(words) > 0 {
		w.line("pledge", words...)
	} else if len(r.Commands) > 0 {
		w.line("pledge", r.Pledge.String())
	}
	for _, u := range r.Unveil {
		w.line("unveil", u.Path, u.Rights.String())
	}
	for _, n := range r.Net {
		w.line("net", n.String())
	}
	w.line("bus", r.Bus...)
	w.budget(r.Budget)
	for _, e := range r.Env {
		w.line("env", e.Name, e.Value)
	}
	for _, n := range r.Native {
		w.line("native", append([]string{n.Path}, n.words()...)...)
	}
	w.text("files", r.Dir)
	w.line("exclude", r.Exclude...)
	w.WriteString("}\n")
	return w.Bytes()
}

func (n Native) words() (words []string) {
	if n.Shim {
		words = append(words, "shim")
	}
	if n.Stub {
		words = append(words, "stub")
	}
	return words
}

// recipeWriter writes nodes of the package's block.
type recipeWriter struct{ bytes.Buffer }

// line writes a node with arguments, or nothing if there are none.
func (w *recipeWriter) line(name string, args ...string) {
	if len(args) == 0 {
		return
	}
	w.WriteString("    " + name)
	for _, a := range args {
		w.WriteString(" " + kdl.Quote(a))
	}
	w.WriteByte('\n')
}

// text writes a node with one argument, or nothing if it is empty.
func (w *recipeWriter) text(name, value string) {
	if value != "" {
		w.line(name, value)
	}
}

func (w *recipeWriter) command(c Command) {
	w.WriteString("    command " + kdl.Quote(c.Name) + " exec=" + kdl.Quote(c.Exec))
	if len(c.Args) > 0 {
		w.WriteString(" {\n    ")
		w.line("args", c.Args...)
		w.WriteString("    }")
	}
	w.WriteByte('\n')
}

func (w *recipeWriter) budget(b capability.Budget) {
	if b == (capability.Budget{}) {
		return
	}
	w.WriteString("    budget")
	item := func(name, value string, set bool) {
		if set {
			w.WriteString(" " + name + "=" + value)
		}
	}
	item("spectrum", kdl.Quote(b.Spectrum), b.Spectrum != "")
	item("memory", kdl.Quote(capability.FormatSize(b.Memory)), b.Memory != 0)
	item("fibers", strconv.Itoa(b.Fibers), b.Fibers != 0)
	item("cpu", kdl.Quote(strconv.Itoa(b.CPU)+"%"), b.CPU != 0)
	item("disk", kdl.Quote(capability.FormatSize(b.Disk)), b.Disk != 0)
	item("io", kdl.Quote(capability.FormatSize(b.IO)+"/s"), b.IO != 0)
	item("energy", kdl.Quote(capability.FormatEnergy(b.Energy)), b.Energy != 0)
	w.WriteByte('\n')
}
