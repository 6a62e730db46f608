// Package kdl reads the KDL text of recipes and policies strictly and knows
// where everything stands: each node, argument and property carries its line and
// column, so that a mistake of meaning can be reported as precisely as one of
// grammar.
//
// What it reads is the part of KDL 1 that such files need: nodes, arguments,
// properties, children, strings (quoted and raw), numbers, true, false, null,
// all comments and line continuations. It is stricter than KDL in four points:
// a property given twice, a type annotation, an unknown escape and a character
// in a bare word that does not print are errors. It is wider in one: a closing
// brace ends the node before it, as in KDL 2. Whatever it and another reader
// accept means the same to both (a fuzz target holds it to that).
//
// It does no input or output, and its memory is bounded by the size of the text.
package kdl

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxSize is the longest text in bytes that Parse takes, MaxDepth how deep
// nodes may be nested, MaxProps how many properties a node may have.
const (
	MaxSize  = 1 << 20
	MaxDepth = 32
	MaxProps = 64
)

// Pos is a place in a text. Line and Col count from 1, Col in characters.
type Pos struct{ Line, Col int }

// Error is a mistake at a place in a file. Its text is file:line:col: message.
type Error struct {
	File string
	Pos  Pos
	Msg  string
}

// maxMessage is how many bytes of a message are shown: it may quote a text that
// somebody made long on purpose.
const maxMessage = 400

// Error returns file:line:col: message, or file: message without a place.
func (e *Error) Error() string {
	msg := e.Msg
	if len(msg) > maxMessage {
		msg = strings.ToValidUTF8(msg[:maxMessage], "") + "…"
	}
	if e.Pos.Line == 0 {
		return e.File + ": " + msg
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Pos.Line, e.Pos.Col, msg)
}

// Kind says what a Value is.
type Kind uint8

// The kinds of value.
const (
	String Kind = iota + 1
	Number
	Bool
	Null
)

// String returns the kind's name with its article, for messages.
func (k Kind) String() string {
	switch k {
	case String:
		return "a string"
	case Number:
		return "a number"
	case Bool:
		return "true or false"
	default:
		return "null"
	}
}

// Value is an argument or the value of a property.
type Value struct {
	Kind Kind
	Text string // String: its content; else as it is written
	Pos  Pos
}

// Property is a name=value of a node.
type Property struct {
	Name  string
	Pos   Pos // of the name
	Value Value
}

// Node is one node with all that belongs to it, in the order of the text.
type Node struct {
	Name     string
	Pos      Pos
	Args     []Value
	Props    []Property
	Children []*Node
	Block    bool // has braces, even if nothing is in them
}

// Property returns the property with that name.
func (n *Node) Property(name string) (Property, bool) {
	for _, p := range n.Props {
		if p.Name == name {
			return p, true
		}
	}
	return Property{}, false
}

// Quote writes s, which is valid UTF-8, as a quoted string that every KDL
// reader takes.
func Quote(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			b.WriteString(`\u{` + strconv.FormatInt(int64(r), 16) + `}`)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// Parse reads a text. file is its name in errors, all of which are *Error.
func Parse(file string, src []byte) ([]*Node, error) {
	p := &parser{file: file, src: src, pos: Pos{1, 1}}
	if len(src) > MaxSize {
		return nil, &Error{File: file, Msg: fmt.Sprintf("has %d bytes, more than %d", len(src), MaxSize)}
	}
	p.take("\ufeff") // a byte order mark is allowed here only
	p.pos = Pos{1, 1}
	nodes, err := p.nodes(0)
	if err != nil {
		return nil, err
	}
	return nodes, nil
}

// parser is a recursive-descent parser over src; off is the next byte, pos its
// place.
type parser struct {
	file string
	src  []byte
	off  int
	pos  Pos
}

func (p *parser) fail(at Pos, format string, args ...any) error {
	return &Error{File: p.file, Pos: at, Msg: fmt.Sprintf(format, args...)}
}

const eof rune = -1

// peek returns the next character, eof at the end, utf8.RuneError for a byte
// that is no UTF-8.
func (p *parser) peek() rune {
	r, _ := p.decode()
	return r
}

func (p *parser) decode() (rune, int) {
	if p.off >= len(p.src) {
		return eof, 0
	}
	if c := p.src[p.off]; c < utf8.RuneSelf {
		return rune(c), 1
	}
	return utf8.DecodeRune(p.src[p.off:])
}

// next consumes one character. A carriage return with a line feed counts as one
// line end.
func (p *parser) next() rune {
	r, n := p.decode()
	p.off += n
	switch {
	case r == '\r' && p.peek() == '\n':
		// The line feed ends the line.
	case isNewline(r):
		p.pos = Pos{p.pos.Line + 1, 1}
	case n > 0:
		p.pos.Col++
	}
	return r
}

// at reports whether s comes next.
func (p *parser) at(s string) bool {
	return len(p.src)-p.off >= len(s) && string(p.src[p.off:p.off+len(s)]) == s
}

// take consumes s if it comes next.
func (p *parser) take(s string) bool {
	if !p.at(s) {
		return false
	}
	for range utf8.RuneCountInString(s) {
		p.next()
	}
	return true
}

func isNewline(r rune) bool {
	switch r {
	case '\r', '\n', '\f', 0x85, 0x2028, 0x2029:
		return true
	}
	return false
}

func isSpace(r rune) bool {
	switch r {
	case ' ', '\t', 0xa0, 0x1680, 0x202f, 0x205f, 0x3000:
		return true
	}
	return r >= 0x2000 && r <= 0x200a
}

// isWord reports whether r can stand in a bare word: a name or a number. Words
// end up in messages, so nothing that a terminal would act on can.
func isWord(r rune) bool {
	if !unicode.IsPrint(r) || r == utf8.RuneError || isSpace(r) {
		return false
	}
	return !strings.ContainsRune(`{}<>;[]=,()/\"`, r)
}
