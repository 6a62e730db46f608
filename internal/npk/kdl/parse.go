package kdl

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// nodes reads nodes up to the end of the text (depth 0) or of a block. The
// closing brace is left to the caller.
func (p *parser) nodes(depth int) ([]*Node, error) {
	if depth > MaxDepth {
		return nil, p.fail(p.pos, "nested more than %d deep", MaxDepth)
	}
	var out []*Node
	for {
		if err := p.blank(); err != nil {
			return nil, err
		}
		switch r := p.peek(); {
		case r == eof, r == '}' && depth > 0:
			return out, nil
		case r == '}':
			return nil, p.fail(p.pos, "} without {")
		}
		skip := p.take("/-")
		if skip {
			if err := p.blank(); err != nil {
				return nil, err
			}
		}
		n, err := p.node(depth)
		if err != nil {
			return nil, err
		}
		if !skip {
			out = append(out, n)
		}
	}
}

// blank skips everything that can stand between nodes.
func (p *parser) blank() error {
	for {
		r := p.peek()
		switch {
		case isSpace(r), isNewline(r), r == ';':
			p.next()
		case p.at("//"):
			p.lineComment()
		case p.at("/*"):
			if err := p.blockComment(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// gap skips what can stand between the parts of a node, and reports whether
// there was anything.
func (p *parser) gap() (bool, error) {
	start := p.off
	for {
		switch {
		case isSpace(p.peek()):
			p.next()
		case p.at("/*"):
			if err := p.blockComment(); err != nil {
				return false, err
			}
		case p.at(`\`):
			if err := p.continuation(); err != nil {
				return false, err
			}
		default:
			return p.off > start, nil
		}
	}
}

// continuation skips a backslash and the end of its line.
func (p *parser) continuation() error {
	at := p.pos
	p.next()
	for {
		switch r := p.peek(); {
		case isSpace(r):
			p.next()
		case p.at("/*"):
			if err := p.blockComment(); err != nil {
				return err
			}
		case p.at("//"):
			p.lineComment()
		case isNewline(r):
			if p.next() == '\r' && p.peek() == '\n' {
				p.next()
			}
			return nil
		default:
			return p.fail(at, `\ must be the last of its line`)
		}
	}
}

func (p *parser) lineComment() {
	for r := p.peek(); r != eof && !isNewline(r); r = p.peek() {
		p.next()
	}
}

// blockComment skips a comment; comments nest.
func (p *parser) blockComment() error {
	at, depth := p.pos, 0
	for {
		switch {
		case p.take("/*"):
			depth++
		case p.take("*/"):
			depth--
			if depth == 0 {
				return nil
			}
		case p.next() == eof:
			return p.fail(at, "comment is not closed")
		}
	}
}

// node reads one node, with the terminator if there is one.
func (p *parser) node(depth int) (*Node, error) {
	n := &Node{Pos: p.pos}
	name, err := p.name("a node's name")
	if err != nil {
		return nil, err
	}
	n.Name = name
	for {
		spaced, err := p.gap()
		if err != nil {
			return nil, err
		}
		skip := false
		if p.at("/-") {
			if !spaced {
				return nil, p.fail(p.pos, "/- wants a blank before it")
			}
			skip = p.take("/-")
			if _, err := p.gap(); err != nil {
				return nil, err
			}
		}
		r := p.peek()
		switch {
		case r == '{':
			at := p.pos
			block, err := p.block(depth)
			if err != nil {
				return nil, err
			}
			if skip {
				continue
			}
			if n.Block {
				return nil, p.fail(at, "a second block of children for %s", n.Name)
			}
			n.Block, n.Children = true, block
		case skip && (r == eof || r == ';' || r == '}' || isNewline(r)):
			return nil, p.fail(p.pos, "nothing follows /-")
		case r == eof || r == '}' || p.at("//"):
			return n, nil
		case r == ';' || isNewline(r):
			p.next()
			return n, nil
		case n.Block:
			return nil, p.fail(p.pos, "after } wants a new line or ;")
		case !spaced:
			return nil, p.fail(p.pos, "unexpected %s", describe(r))
		default:
			if err := p.entry(n, skip); err != nil {
				return nil, err
			}
		}
	}
}

// block reads { … }.
func (p *parser) block(depth int) ([]*Node, error) {
	at := p.pos
	p.next()
	nodes, err := p.nodes(depth + 1)
	if err != nil {
		return nil, err
	}
	if p.next() != '}' {
		return nil, p.fail(at, "{ is not closed")
	}
	return nodes, nil
}

// entry reads an argument or a property and adds it to n unless skip.
func (p *parser) entry(n *Node, skip bool) error {
	at, bare := p.pos, p.isBare()
	word, kind, err := p.scalar()
	if err != nil {
		return err
	}
	if p.peek() != '=' {
		if bare && kind == String {
			return p.fail(at, "%s must be in quotes", word)
		}
		if !skip {
			n.Args = append(n.Args, Value{kind, word, at})
		}
		return nil
	}
	if kind != String {
		return p.fail(at, "%s cannot name a property", word)
	}
	p.next()
	v := Value{Pos: p.pos}
	bare = p.isBare()
	if v.Text, v.Kind, err = p.scalar(); err != nil {
		return err
	}
	if bare && v.Kind == String {
		return p.fail(v.Pos, "%s must be in quotes", v.Text)
	}
	if skip {
		return nil
	}
	if _, twice := n.Property(word); twice {
		return p.fail(at, "property %s given twice", word)
	}
	if len(n.Props) == MaxProps {
		return p.fail(at, "more than %d properties", MaxProps)
	}
	n.Props = append(n.Props, Property{word, at, v})
	return nil
}

// isBare reports whether the next scalar is no string in quotes.
func (p *parser) isBare() bool { return p.peek() != '"' && !p.at(`r"`) && !p.at("r#") }

// name reads an identifier or a string in its place.
func (p *parser) name(what string) (string, error) {
	at := p.pos
	s, kind, err := p.scalar()
	if err != nil {
		return "", err
	}
	if kind != String {
		return "", p.fail(at, "%s is not %s", s, what)
	}
	if s == "" {
		return "", p.fail(at, "%s is empty", what)
	}
	return s, nil
}

// scalar reads a string, number, true, false, null or bare word. The kind of a
// bare word is String.
func (p *parser) scalar() (string, Kind, error) {
	at, r := p.pos, p.peek()
	switch {
	case r == '"':
		s, err := p.quoted()
		return s, String, err
	case !p.isBare():
		s, err := p.raw()
		return s, String, err
	case r == '(':
		return "", 0, p.fail(at, "type annotations have no meaning here")
	case !isWord(r):
		return "", 0, p.fail(at, "unexpected %s", describe(r))
	}
	start := p.off
	for isWord(p.peek()) {
		p.next()
	}
	word := string(p.src[start:p.off])
	switch {
	case word == "true" || word == "false":
		return word, Bool, nil
	case word == "null":
		return word, Null, nil
	case isNumber(word):
		return word, Number, nil
	case word[0] >= '0' && word[0] <= '9':
		return "", 0, p.fail(at, "%s is neither a number nor a name", word)
	}
	return word, String, nil
}

// isNumber reports whether word is a decimal integer as KDL writes it. Other
// notations of numbers have no use in the files this package is for.
func isNumber(word string) bool {
	digits := strings.TrimLeft(word, "+-")
	if len(word)-len(digits) > 1 || digits == "" || digits[0] == '_' {
		return false
	}
	return strings.Trim(digits, "0123456789_") == ""
}

// quoted reads a string in double quotes.
func (p *parser) quoted() (string, error) {
	at := p.pos
	p.next()
	var b strings.Builder
	for {
		here := p.pos
		switch r, n := p.decode(); {
		case r == eof:
			return "", p.fail(at, "string is not closed")
		case r == utf8.RuneError && n == 1:
			return "", p.fail(here, "not UTF-8")
		case r == '"':
			p.next()
			return b.String(), nil
		case r == '\\':
			p.next()
			e, err := p.escape(here)
			if err != nil {
				return "", err
			}
			b.WriteRune(e)
		default:
			b.WriteRune(p.next())
		}
	}
}

// escape reads what follows a backslash in a string.
func (p *parser) escape(at Pos) (rune, error) {
	switch r := p.next(); r {
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case '\\', '"', '/':
		return r, nil
	case 'u':
		return p.codepoint(at)
	default:
		return 0, p.fail(at, `unknown escape \%s`, strings.Trim(describe(r), "'"))
	}
}

// codepoint reads {hex} of \u{hex}.
func (p *parser) codepoint(at Pos) (rune, error) {
	var r rune
	n := 0
	if p.next() != '{' {
		return 0, p.fail(at, `\u wants {hexadecimal digits}`)
	}
	for ; p.peek() != '}'; n++ {
		d := strings.IndexRune("0123456789abcdefABCDEF", p.next())
		if d < 0 || n == 6 {
			return 0, p.fail(at, `\u wants 1 to 6 hexadecimal digits in braces`)
		}
		if d >= 16 {
			d -= 6
		}
		r = r<<4 | rune(d)
	}
	p.next()
	if n == 0 || !utf8.ValidRune(r) {
		return 0, p.fail(at, `\u names no character`)
	}
	return r, nil
}

// raw reads r"…" or r#"…"#, in which nothing is an escape.
func (p *parser) raw() (string, error) {
	at := p.pos
	p.next()
	hashes := 0
	for p.peek() == '#' {
		p.next()
		hashes++
	}
	if p.next() != '"' {
		return "", p.fail(at, "raw string wants a quote")
	}
	end := `"` + strings.Repeat("#", hashes)
	start := p.off
	for !p.at(end) {
		here := p.pos
		r, n := p.decode()
		if r == eof {
			return "", p.fail(at, "string is not closed")
		}
		if r == utf8.RuneError && n == 1 {
			return "", p.fail(here, "not UTF-8")
		}
		p.next()
	}
	s := string(p.src[start:p.off])
	p.take(end)
	return s, nil
}

// describe names a character for a message.
func describe(r rune) string {
	switch {
	case r == eof:
		return "end of the file"
	case r == utf8.RuneError:
		return "byte that is no UTF-8"
	case r == '\r' || r == '\n':
		return "end of the line"
	case !unicode.IsPrint(r):
		return fmt.Sprintf("character %U", r)
	}
	return "'" + string(r) + "'"
}
