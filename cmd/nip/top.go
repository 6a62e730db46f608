package main

import (
	"fmt"
	"math"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"nipcells/internal/capability"
	"nipcells/internal/cell"
	"nipcells/internal/kinetic"
)

func newTopCommand(a *app) *cobra.Command {
	var every time.Duration
	var once bool
	c := &cobra.Command{
		Use:   "top",
		Short: "Watch what running cells use",
		Long: `Top shows the running cells below the root and what they use, once a second: spectrum,
CPU time in per cent of one core with its last minute, memory (pages that several
processes share counted once, without files), processes and threads, what comes from
and goes to disks, energy (nip help budget tells the prices), and strikes.

Keys: up and down choose a cell; s stops it, d takes it to the next lower spectrum, c
changes its budget; q ends. Where there is no terminal, or with --once, one table is
printed.`,
		Example: "  nip top\n  nip top --once\n  nip top --json",
		Args:    args(0, 0, ""),
		RunE:    func(c *cobra.Command, _ []string) error { return a.top(c, every, once) },
	}
	c.Flags().DurationVar(&every, "every", time.Second, "how `long` to wait between two looks")
	c.Flags().BoolVar(&once, "once", false, "print one table and end")
	return a.jsonFlag(c)
}

func (a *app) top(c *cobra.Command, every time.Duration, once bool) error {
	if every < 50*time.Millisecond {
		return &usageError{verb: "top", err: fmt.Errorf("--every %v: want 50ms at least", every)}
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	w := &watcher{root: root}
	if _, err := w.look(); err != nil {
		return err
	}
	if fd, ok := a.out.(interface{ Fd() uintptr }); !once && !a.json && ok && term.IsTerminal(int(fd.Fd())) && term.IsTerminal(0) {
		_, err := tea.NewProgram(&topView{watcher: w, every: every, history: map[string][]float64{}}, tea.WithAltScreen(), tea.WithOutput(a.out), tea.WithContext(c.Context())).Run()
		return err
	}
	time.Sleep(every)
	list, err := w.look()
	if err != nil {
		return err
	}
	if a.json {
		return writeJSON(a.out, list)
	}
	rows := make([][]string, len(list))
	for i, u := range list {
		rows[i] = topRow(u)
	}
	return writeTable(a.out, topHead, rows)
}

var topHead = []string{"FIBER", "PACKAGE", "SPECTRUM", "CPU%", "MEMORY", "FIBERS", "READ/S", "WRITE/S", "W", "J/WINDOW", "STRIKES"}

func topRow(u cellUsage) []string {
	return []string{u.Fiber, u.Package, u.Spectrum, fmt.Sprintf("%.1f", u.CPU), bytesText(u.Memory), fmt.Sprint(u.Fibers), bytesText(int64(u.ReadRate)), bytesText(int64(u.WriteRate)),
		fmt.Sprintf("%.2f", u.Watts), fmt.Sprintf("%.4f", u.Window), fmt.Sprint(u.Strikes)}
}

// topView is the live table (a bubbletea model).
type topView struct {
	watcher *watcher
	every   time.Duration
	list    []cellUsage
	history map[string][]float64 // per cent of a core, by fiber-id, the newest last
	chosen  string               // fiber-id
	message string
	asking  bool // a budget is being typed
	typed   string
	width   int
}

type (
	lookTime struct{}
	looked   struct {
		list []cellUsage
		err  error
	}
	done string // what a key has brought about
)

func (v *topView) Init() tea.Cmd { return v.look }

func (v *topView) look() tea.Msg {
	list, err := v.watcher.look()
	return looked{list, err}
}

func (v *topView) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		v.width = msg.Width
	case lookTime:
		return v, v.look
	case looked:
		if msg.err != nil {
			v.message = msg.err.Error()
		} else {
			v.take(msg.list)
		}
		return v, tea.Tick(v.every, func(time.Time) tea.Msg { return lookTime{} })
	case done:
		v.message = string(msg)
	case tea.KeyMsg:
		if v.asking {
			return v, v.typing(msg)
		}
		return v, v.key(msg.String())
	}
	return v, nil
}

// take takes over a new look.
func (v *topView) take(list []cellUsage) {
	const minute = 60
	v.list = list
	history := map[string][]float64{}
	for _, u := range list {
		h := append(v.history[u.Fiber], u.CPU)
		history[u.Fiber] = h[max(0, len(h)-minute):]
	}
	v.history = history
	if v.at() < 0 && len(list) > 0 {
		v.chosen = list[0].Fiber
	}
}

// at is the chosen cell's place, -1 if there is none.
func (v *topView) at() int {
	for i, u := range v.list {
		if u.Fiber == v.chosen {
			return i
		}
	}
	return -1
}

func (v *topView) key(key string) tea.Cmd {
	at := v.at()
	switch key {
	case "q", "esc", "ctrl+c":
		return tea.Quit
	case "up", "k":
		if at > 0 {
			v.chosen = v.list[at-1].Fiber
		}
	case "down", "j":
		if at+1 < len(v.list) {
			v.chosen = v.list[at+1].Fiber
		}
	}
	if at < 0 {
		return nil
	}
	c := v.list[at].Info
	switch key {
	case "s":
		v.message = "stopping " + c.Fiber
		return func() tea.Msg {
			if _, err := cell.Stop(v.watcher.root, c, answerTime); err != nil {
				return done(err.Error())
			}
			return done("stopped " + c.Fiber + " (" + c.Package + ")")
		}
	case "d":
		budget, _ := capability.ParseBudget(c.Budget) // of another version: it will say so
		return v.ask(c, "spectrum="+kinetic.Lower(budget))
	case "c":
		v.asking, v.typed, v.message = true, "", ""
	}
	return nil
}

// ask changes a cell's budget.
func (v *topView) ask(c cell.Info, budget string) tea.Cmd {
	return func() tea.Msg {
		now, err := cell.Ask(v.watcher.root, c, "budget", budget, answerTime)
		if err != nil {
			return done(c.Fiber + ": " + err.Error())
		}
		return done(c.Fiber + " (" + c.Package + ") is held to " + now)
	}
}

// typing takes a key of a budget that is being typed.
func (v *topView) typing(msg tea.KeyMsg) tea.Cmd {
	switch msg.Type {
	case tea.KeyEnter:
		v.asking = false
		if at := v.at(); at >= 0 && v.typed != "" {
			return v.ask(v.list[at].Info, v.typed)
		}
	case tea.KeyEsc, tea.KeyCtrlC:
		v.asking = false
	case tea.KeyBackspace:
		if r := []rune(v.typed); len(r) > 0 {
			v.typed = string(r[:len(r)-1])
		}
	case tea.KeyRunes, tea.KeySpace:
		v.typed += string(msg.Runes)
	}
	return nil
}

func (v *topView) View() string {
	head := append(topHead[:4:4], append([]string{"LAST MINUTE"}, topHead[4:]...)...)
	rows := make([][]string, len(v.list))
	for i, u := range v.list {
		row := topRow(u)
		rows[i] = append(row[:4:4], append([]string{sparkline(v.history[u.Fiber], 20)}, row[4:]...)...)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "nip top   %s, %s\n\n", time.Now().Format(time.TimeOnly), count(len(v.list), "cell"))
	var table strings.Builder
	_ = writeTable(&table, head, rows) // to memory
	at := v.at() + 1                   // behind the head
	for i, line := range strings.Split(strings.TrimSuffix(table.String(), "\n"), "\n") {
		if r := []rune(line); v.width > 0 && len(r) > v.width {
			line = string(r[:v.width])
		}
		if i == at && i > 0 {
			line = "\x1b[7m" + line + "\x1b[0m"
		}
		b.WriteString(line + "\n")
	}
	switch {
	case v.asking:
		fmt.Fprintf(&b, "\nbudget of %s: %s_\n", v.chosen, printable(v.typed))
	default:
		fmt.Fprintf(&b, "\n%s\nup, down choose   s stop   d demote   c change budget   q end\n", printable(v.message))
	}
	return b.String()
}

// sparkline draws the last figures, per cent of a core, in eighths of the largest, or of
// a core if none is larger.
func sparkline(figures []float64, width int) string {
	const bars = "▁▂▃▄▅▆▇█"
	figures = figures[max(0, len(figures)-width):]
	most := 100.0
	for _, f := range figures {
		most = max(most, f)
	}
	line := []rune(strings.Repeat(" ", width-len(figures)))
	for _, f := range figures {
		line = append(line, []rune(bars)[int(math.Round(max(0, f)/most*7))])
	}
	return string(line)
}
