package main

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nipcells/ion"
)

func newRingCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "ring",
		Short: "Look at the ION rings of running processes",
		Long: `Ring shows segments of ION rings that processes of this host share: your own ones', and
for root everybody's. It only looks: what it shows is what the two sides say.`,
		Example: "  nip ring ls\n  nip ring stat console\n  nip ring tap console 0x1001",
		Args:    args(0, 0, ""),
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(
		a.jsonFlag(&cobra.Command{
			Use: "ls", Short: "List segments", Example: "  nip ring ls\n  nip ring ls --json", Args: args(0, 0, ""),
			Long: "Ls lists the segments, with their channels and the processes that have them.",
			RunE: func(*cobra.Command, []string) error { return a.ringLs() },
		}),
		a.jsonFlag(&cobra.Command{
			Use: "stat SEGMENT", Short: "Show what goes through a segment", Example: "  nip ring stat console", Args: args(1, 1, "a SEGMENT"),
			Long: `Stat shows each lane of a segment: messages sent and not taken yet, how often one side
woke the other and slept, and how long timed messages took (one of 1024, and those that
wake somebody), in powers of two. SEGMENT is a name or a serial that nip ring ls shows.`,
			RunE: func(_ *cobra.Command, words []string) error { return a.ringStat(words[0]) },
		}),
		newRingTapCommand(a),
	)
	return c
}

func newRingTapCommand(a *app) *cobra.Command {
	count := 0
	c := &cobra.Command{
		Use: "tap SEGMENT CHANNEL", Short: "Print messages as they go by", Args: args(2, 2, "a SEGMENT and a CHANNEL"),
		Example: "  nip ring tap console 0x1001\n  nip ring tap -n 10 console 4096",
		Long: `Tap prints the messages of a channel, both ways, from the oldest that is still there on: their
index, kind, version and bytes. It holds nobody up: what goes by too quickly is counted as
missed. It ends with the segment, after so many messages (-n), or by Ctrl-C.`,
		RunE: func(c *cobra.Command, words []string) error { return a.ringTap(c, words[0], words[1], count) },
	}
	c.Flags().IntVarP(&count, "count", "n", 0, "end after so many messages")
	return c
}

// ringSegment is a segment for --json.
type ringSegment struct {
	Name      string     `json:"name"`
	Serial    string     `json:"serial"`
	Size      int        `json:"bytes"`
	Processes []int      `json:"processes"`
	Lanes     []ringLane `json:"lanes"`
}

type ringLane struct {
	Channel      uint32   `json:"channel"`
	From         string   `json:"from"`
	SlotSize     uint32   `json:"slot_bytes"`
	Slots        uint32   `json:"slots"`
	Buffers      uint32   `json:"buffers"`
	BufferSize   uint32   `json:"buffer_bytes"`
	Sent         uint64   `json:"sent"`
	Waiting      uint64   `json:"waiting"`
	Open         bool     `json:"open"`
	SenderRings  uint64   `json:"sender_rings"`
	SenderSleeps uint64   `json:"sender_sleeps"`
	TakerRings   uint64   `json:"taker_rings"`
	TakerSleeps  uint64   `json:"taker_sleeps"`
	Latency      []uint64 `json:"latency_log2_ns"`
	half, most   time.Duration
}

// lookAtRing opens a segment and says what is in it.
func lookAtRing(f ion.Found) (s ringSegment, err error) {
	v, err := ion.Inspect(f)
	if err != nil {
		return s, err
	}
	defer v.Close()
	s = ringSegment{Name: f.Name, Serial: fmt.Sprintf("%016x", f.Serial), Size: f.Size, Processes: f.Processes}
	for _, l := range v.Lanes() {
		s.Lanes = append(s.Lanes, ringLane{
			Channel: l.ID, From: l.From.String(), SlotSize: l.SlotSize, Slots: l.Slots, Buffers: l.Buffers, BufferSize: l.BufferSize,
			Sent: l.Sent, Waiting: l.Sent - l.Taken, Open: l.SenderOpen && l.TakerOpen, SenderRings: l.SenderRings, SenderSleeps: l.SenderSleeps,
			TakerRings: l.TakerRings, TakerSleeps: l.TakerSleeps, Latency: l.Latency[:], half: l.Percentile(50), most: l.Percentile(99),
		})
	}
	return s, nil
}

func (a *app) ringLs() error {
	found, err := ion.Find()
	if err != nil {
		return err
	}
	list := []ringSegment{}
	for _, f := range found {
		if s, err := lookAtRing(f); err == nil { // else it has gone meanwhile
			list = append(list, s)
		}
	}
	if a.json {
		return writeJSON(a.out, list)
	}
	rows := make([][]string, len(list))
	for i, s := range list {
		var channels, pids []string
		for _, l := range s.Lanes {
			if id := fmt.Sprintf("%#x", l.Channel); !slices.Contains(channels, id) { // it has two lanes
				channels = append(channels, id)
			}
		}
		for _, pid := range s.Processes {
			pids = append(pids, strconv.Itoa(pid))
		}
		rows[i] = []string{cmp.Or(s.Name, "-"), s.Serial, strconv.Itoa(s.Size >> 10), strings.Join(channels, " "), strings.Join(pids, " ")}
	}
	return writeTable(a.out, []string{"SEGMENT", "SERIAL", "KB", "CHANNELS", "PROCESSES"}, rows)
}

// ringError is one for which there is advice.
type ringError struct {
	error
	help string
}

func (e *ringError) advice() string { return e.help }
func (e *ringError) Unwrap() error  { return e.error }

// ringNamed finds the segment of that name or serial.
func ringNamed(name string) (f ion.Found, err error) {
	found, err := ion.Find()
	if err != nil {
		return f, err
	}
	n := 0
	for _, candidate := range found {
		if fmt.Sprintf("%016x", candidate.Serial) == name {
			return candidate, nil
		}
		if candidate.Name == name {
			f = candidate
			n++
		}
	}
	switch {
	case n == 0:
		return f, &ringError{fmt.Errorf("segment %q: no process has it that you may look at", name), "nip ring ls lists the segments"}
	case n > 1:
		return f, &ringError{fmt.Errorf("segment %q: several segments have that name", name), "take the serial that nip ring ls shows"}
	}
	return f, nil
}

func (a *app) ringStat(name string) error {
	f, err := ringNamed(name)
	if err != nil {
		return err
	}
	s, err := lookAtRing(f)
	if err != nil {
		return fmt.Errorf("segment %q: %w", name, err)
	}
	if a.json {
		return writeJSON(a.out, s.Lanes)
	}
	rows := make([][]string, len(s.Lanes))
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	short := func(d time.Duration) string {
		if d == 0 {
			return "-"
		}
		return "<" + d.String()
	}
	for i, l := range s.Lanes {
		state := "open"
		if !l.Open {
			state = "closed"
		}
		rows[i] = []string{
			fmt.Sprintf("%#x", l.Channel), l.From, state, number(l.Sent), number(l.Waiting), number(l.SenderRings), number(l.SenderSleeps),
			number(l.TakerRings), number(l.TakerSleeps), short(l.half), short(l.most),
		}
	}
	return writeTable(a.out, []string{"CHANNEL", "FROM", "STATE", "SENT", "WAITING", "RINGS", "SLEEPS", "RINGS BACK", "SLEEPS THERE", "P50", "P99"}, rows)
}

func (a *app) ringTap(c *cobra.Command, name, channel string, count int) error {
	id, err := strconv.ParseUint(channel, 0, 32)
	if err != nil {
		return &usageError{verb: verbOf(c), err: fmt.Errorf("channel %q: want a number, such as 0x1001", channel)}
	}
	f, err := ringNamed(name)
	if err != nil {
		return err
	}
	v, err := ion.Inspect(f)
	if err != nil {
		return fmt.Errorf("segment %q: %w", name, err)
	}
	defer v.Close()
	type tapped struct {
		lane int
		from ion.Side
		at   uint64
	}
	var lanes []tapped
	for i, l := range v.Lanes() {
		if l.ID == uint32(id) {
			lanes = append(lanes, tapped{i, l.From, l.Sent - min(l.Sent, uint64(l.Slots))})
		}
	}
	if len(lanes) == 0 {
		return &ringError{fmt.Errorf("segment %q has no channel %#x", name, id), "nip ring ls lists the channels"}
	}
	const pause = 10 * time.Millisecond
	for shown := 0; ; {
		for i := range lanes {
			l := &lanes[i]
			missed, err := v.Tap(l.lane, &l.at, func(index uint64, m []byte) {
				if count > 0 && shown >= count {
					return
				}
				shown++
				kind, version := ion.Kind(m)
				fmt.Fprintf(a.out, "%s %d kind %d version %d %d bytes %s\n", l.from, index, kind, version, len(m), hex.EncodeToString(m[ion.MessageHeader:]))
			})
			if missed > 0 {
				fmt.Fprintf(a.out, "%s missed %d\n", l.from, missed)
			}
			if err != nil {
				return fmt.Errorf("segment %q: %w", name, err)
			}
		}
		if count > 0 && shown >= count || !v.Side(ion.Host).Attached && !v.Side(ion.Guest).Attached {
			return nil
		}
		select {
		case <-c.Context().Done():
			return nil
		case <-time.After(pause):
		}
	}
}
