package kdl

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	kdlgo "github.com/sblinch/kdl-go"
	"github.com/sblinch/kdl-go/document"
)

// show writes nodes with all places, in a form that tests can compare.
func show(nodes []*Node) string {
	var b strings.Builder
	for i, n := range nodes {
		if i > 0 {
			b.WriteString(" ")
		}
		fmt.Fprintf(&b, "%s@%d:%d", n.Name, n.Pos.Line, n.Pos.Col)
		for _, a := range n.Args {
			fmt.Fprintf(&b, " %q@%d:%d", a.Text, a.Pos.Line, a.Pos.Col)
		}
		for _, p := range n.Props {
			fmt.Fprintf(&b, " %s@%d:%d=%q@%d:%d", p.Name, p.Pos.Line, p.Pos.Col, p.Value.Text, p.Value.Pos.Line, p.Value.Pos.Col)
		}
		if n.Block {
			b.WriteString("{" + show(n.Children) + "}")
		}
	}
	return b.String()
}

func TestParse(t *testing.T) {
	tests := []struct{ name, src, want string }{
		{"empty", "", ""},
		{"blank", " \n\t;\n// nothing\n/* no /* thing */ */\n", ""},
		{"node", "a", "a@1:1"},
		{"arguments", `a "b" 1 true null -5 1_000`, `a@1:1 "b"@1:3 "1"@1:7 "true"@1:9 "null"@1:14 "-5"@1:19 "1_000"@1:22`},
		{"properties", `a b="c" "d e"=2`, `a@1:1 b@1:3="c"@1:5 d e@1:9="2"@1:15`},
		{"children", "a {\n  b 1\n\n  c; d\n}\ne", `a@1:1{b@2:3 "1"@2:5 c@4:3 d@4:6} e@6:1`},
		{"one line", `a { b "x" { c } }`, `a@1:1{b@1:5 "x"@1:7{c@1:13}}`},
		{"empty block", "a {}\nb", "a@1:1{} b@2:1"},
		{"line ends", "a\r\nb\rc\u2028d", "a@1:1 b@2:1 c@3:1 d@4:1"},
		{"columns are characters", "a \"é\u00a0ü\" b=1\n", "a@1:1 \"é\\u00a0ü\"@1:3 b@1:9=\"1\"@1:11"},
		{"byte order mark", "\ufeffa 1", `a@1:1 "1"@1:3`},
		{"escapes", `a "\n\r\t\\\"\/\b\f\u{e9}\u{1F600}"`, `a@1:1 "\n\r\t\\\"/\b\fé😀"@1:3`},
		{"raw", `a r"\n" r#""x""# r##"#"#"##`, `a@1:1 "\\n"@1:3 "\"x\""@1:9 "#\"#"@1:18`},
		{"string over lines", "a \"x\ny\" 1\nb", "a@1:1 \"x\\ny\"@1:3 \"1\"@2:4 b@3:1"},
		{"continuation", "a \\ // more\n  1\nb", `a@1:1 "1"@2:3 b@3:1`},
		{"skipped node", "/- a 1 {\n b\n}\nc", "c@4:1"},
		{"skipped parts", "a /-1 2 /-b=3 /-{\n x\n}\nc", `a@1:1 "2"@1:7 c@4:1`},
		{"quoted name", `"a b" 1`, `a b@1:1 "1"@1:7`},
		{"comment behind", "a 1// x\nb /* y\n */ 2", `a@1:1 "1"@1:3 b@2:1 "2"@3:5`},
		{"odd names", "-a\n+\nr\nnode-1.x\n", "-a@1:1 +@2:1 r@3:1 node-1.x@4:1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			nodes, err := Parse("f", []byte(tt.src))
			if err != nil {
				t.Fatal(err)
			}
			if got := show(nodes); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct{ name, src, want string }{
		{"bare argument", "a b", "f:1:3: b must be in quotes"},
		{"bare value", "a b=c", "f:1:5: c must be in quotes"},
		{"property without node", "a b=1\n c=1 ", "f:2:3: unexpected '='"},
		{"property twice", `a b=1 b=2`, "f:1:7: property b given twice"},
		{"type", "(t)a", "f:1:1: type annotations have no meaning here"},
		{"type of value", "a (t)1", "f:1:3: type annotations have no meaning here"},
		{"open block", "a {\n b\n", "f:1:3: { is not closed"},
		{"close without open", "a\n}", "f:2:1: } without {"},
		{"open string", "a\n  \"b", "f:2:3: "},
		{"open raw string", `a r#"b"`, "f:1:3: string is not closed"},
		{"open comment", "a /* b", "f:1:3: comment is not closed"},
		{"unknown escape", `a "x\q"`, `f:1:5: unknown escape \q`},
		{"escape at the end", `a "\`, `f:1:4: unknown escape \end of the file`},
		{"no character", `a "\u{110000}"`, `f:1:4: \u names no character`},
		{"surrogate", `a "\u{d800}"`, `f:1:4: \u names no character`},
		{"too many digits", `a "\u{0000041}"`, `f:1:4: \u wants 1 to 6`},
		{"no digits", `a "\u{}"`, `f:1:4: \u names no character`},
		{"not UTF-8", "a \"\xff\"", "f:1:4: not UTF-8"},
		{"not UTF-8 outside", "a \xff", "f:1:3: unexpected byte that is no UTF-8"},
		{"NUL", "a \x00", "f:1:3: unexpected character U+0000"},
		{"terminal control", "a\u009b1m", "f:1:2: unexpected character U+009B"},
		{"many properties", "a" + manyProps(MaxProps+1), "more than 64 properties"},
		{"long word", "a " + strings.Repeat("é", 5000), "éé…"},
		{"glued", `a"b"`, `f:1:2: unexpected '"'`},
		{"glued arguments", `a "b""c"`, `f:1:6: unexpected '"'`},
		{"second block", "a {} {}", "f:1:6: a second block"},
		{"after block", "a {} 1", "f:1:6: after }"},
		{"number as name", "5 1", "f:1:1: 5 is not a node's name"},
		{"number as property", "a 5=1", "f:1:3: 5 cannot name a property"},
		{"half a number", "a 5x", "f:1:3: 5x is neither"},
		{"fraction", "a 1.5", "f:1:3: 1.5 is neither"},
		{"no value", "a b=", "f:1:5: unexpected end of the file"},
		{"empty name", `"" 1`, "f:1:1: a node's name is empty"},
		{"continuation", `a \ b`, `f:1:3: \ must be the last of its line`},
		{"skip of nothing", "a /-", "f:1:5: nothing follows /-"},
		{"deep", strings.Repeat("a {", MaxDepth+2), fmt.Sprintf("nested more than %d deep", MaxDepth)},
		{"long", strings.Repeat(" ", MaxSize+1), "f: has 1048577 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			nodes, err := Parse("f", []byte(tt.src))
			if err == nil {
				t.Fatalf("accepted as %s", show(nodes))
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want one with %q", err, tt.want)
			}
		})
	}
}

func manyProps(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " p%d=1", i)
	}
	return b.String()
}

func TestQuote(t *testing.T) {
	for _, s := range []string{"", "plain", `q"b\n`, "\x00\x01\x1f\x7f\t\r\n", "é☜\u00a0😀", "{}=;()/-//"} {
		nodes, err := Parse("f", []byte("a "+Quote(s)))
		if err != nil || len(nodes) != 1 || len(nodes[0].Args) != 1 || nodes[0].Args[0].Text != s {
			t.Errorf("%q is written %s and read as %s, %v", s, Quote(s), show(nodes), err)
		}
	}
}

// reduce brings both readers' trees into one shape.
type reduced struct {
	Name     string
	Args     []string
	Props    map[string]string
	Children []reduced
}

func ours(nodes []*Node) []reduced {
	var out []reduced
	for _, n := range nodes {
		r := reduced{Name: n.Name, Props: map[string]string{}, Children: ours(n.Children)}
		for _, a := range n.Args {
			r.Args = append(r.Args, canon(a))
		}
		for _, p := range n.Props {
			r.Props[p.Name] = canon(p.Value)
		}
		out = append(out, r)
	}
	return out
}

func canon(v Value) string {
	if v.Kind == Number {
		digits := strings.ReplaceAll(strings.TrimPrefix(v.Text, "+"), "_", "")
		sign := ""
		if strings.HasPrefix(digits, "-") {
			sign, digits = "-", digits[1:]
		}
		if digits = strings.TrimLeft(digits, "0"); digits == "" {
			sign, digits = "", "0"
		}
		return sign + digits
	}
	return v.Text
}

func theirs(nodes []*document.Node) []reduced {
	text := func(v *document.Value) string {
		if v.Value == nil {
			return "null"
		}
		return fmt.Sprint(v.Value)
	}
	var out []reduced
	for _, n := range nodes {
		r := reduced{Name: n.Name.ValueString(), Props: map[string]string{}, Children: theirs(n.Children)}
		for _, a := range n.Arguments {
			r.Args = append(r.Args, text(a))
		}
		for name, v := range n.Properties {
			r.Props[name] = text(v)
		}
		out = append(out, r)
	}
	return out
}

// TestAgainstReference reads texts with another reader of KDL too: what both
// accept must mean the same.
func TestAgainstReference(t *testing.T) {
	for _, src := range []string{
		"a 1 \"b\" c=2 {\n  d r#\"x\\n\"# e=\"\\u{e9}\"\n}\n/- f 1 {\n g\n}\nh \\\n  \"i\" -0x\n",
		"package \"firefox\" version=\"120.0\" {\n    summary \"Web browser\"\n    pledge \"STDIO\" \"RPATH\"\n    budget memory=\"2G\" fibers=256\n}\n",
		"a null true false -007 +1_0\n\"b c\" \"d\"=\"\\\\\"; e {\n}\n",
	} {
		compare(t, []byte(src))
	}
}

func compare(t *testing.T, src []byte) {
	t.Helper()
	nodes, err := Parse("f", src)
	if err != nil {
		return
	}
	// The reference sees a null before a brace that no blank stands before.
	for i, c := range src {
		if c == '{' && i > 0 && src[i-1] != ' ' {
			return
		}
	}
	// Without a line end the reference forgets the last argument.
	doc, err := kdlgo.Parse(bytes.NewReader(append(bytes.Clone(src), '\n')))
	if err != nil {
		return // a brace that ends a node, and more that this reader does not know
	}
	if a, b := ours(nodes), theirs(doc.Nodes); !reflect.DeepEqual(a, b) {
		t.Errorf("%q is read as\n%+v\nand by the reference as\n%+v", src, a, b)
	}
}

func FuzzAgainstReference(f *testing.F) {
	f.Add([]byte("a 1 \"b\" c=2 {\n d r\"x\" /- 3 \\\n null\n}\n"))
	f.Fuzz(compare)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("package \"a\" version=\"1\" {\n  b r#\"x\"# 1 c=true /* d */ \\\n  -2\n}\n"))
	f.Add([]byte("/- a {\n}\nb \"\\u{e9}\\n\" // c\n\"d e\" null; f\r\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		nodes, err := Parse("f", src)
		if err == nil {
			for _, n := range nodes {
				inText(t, src, n)
			}
			return
		}
		if e, ok := err.(*Error); !ok || e.Pos.Line < 1 || e.Pos.Col < 1 || e.Pos.Line > 1+len(src) {
			t.Fatalf("error without a place: %v", err)
		}
	})
}

// inText checks that nodes stand where they say: at the character that begins
// their name.
func inText(t *testing.T, src []byte, n *Node) {
	t.Helper()
	p := &parser{src: bytes.TrimPrefix(src, []byte("\ufeff")), pos: Pos{1, 1}}
	for p.pos != n.Pos && p.peek() != eof {
		p.next()
	}
	if got, err := p.name("name"); err != nil || got != n.Name {
		t.Fatalf("node %q says it is at %v, where %q is (%v)", n.Name, n.Pos, got, err)
	}
	for _, c := range n.Children {
		inText(t, src, c)
	}
}
