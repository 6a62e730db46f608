package programs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nipcells/test/rig"
)

// loopback are the flags that let a cell reach the host's own addresses, and be
// reached by them.
var loopback = []string{"--net", "loopback", "--net", "listen:loopback"}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func curl() program {
	return program{
		name:   "curl",
		graft:  []string{"debian:curl"},
		shared: true,
		wait:   []string{"-s", "-T", "-", "file:///tmp/in"},
		jobs:   []job{{name: "a file", flags: work, args: []string{"-s", "file://{work}/text"}, want: "^hello world$", outside: "curl"}},
		more:   []piece{{name: "https", run: fetches}},
		read: alone(func(path string) []string {
			return []string{"-s", "-o", "/dev/null", "-w", "read %{size_download}", "file://" + path}
		}),
		told: "read [1-9]",
	}
}

// fetches has curl talk to a server whose certificate it can check, and to the
// same with another's.
func fetches(t *testing.T, w *world) {
	ours, others := newAuthority(t), newAuthority(t)
	body := pattern(1 << 20)
	var served atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		served.Add(1)
		if in.Method == http.MethodPost {
			got, err := io.ReadAll(in.Body)
			if err != nil {
				t.Error(err)
			}
			fmt.Fprintf(out, "%d %s", len(got), sum(got))
			return
		}
		out.Write(body) // curl tells whether all has come
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ours.issue(t)}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // that a client refuses is wanted
	server.StartTLS()
	defer server.Close()

	ca := filepath.Join(w.root.Base, "authorities")
	w.root.Write(ca+"/ours.pem", string(ours.pem), 0o644)
	w.root.Write(ca+"/others.pem", string(others.pem), 0o644)
	fetch := func(authority string, args ...string) rig.Result {
		flags := append([]string{"--unveil", ca + "/" + authority + ":r", "--unveil", "{work}:rw"}, loopback...)
		return w.run(t, flags, append([]string{"-sS", "--max-time", "20", "--cacert", ca + "/" + authority, server.URL}, args...), "")
	}
	if res := fetch("ours.pem", "-o", "{work}/body", "-w", "%{http_code} %{ssl_verify_result}"); res.Code != 0 || res.Stdout != "200 0" {
		t.Errorf("exit status %d, %q %s", res.Code, res.Stdout, res.Stderr)
	}
	if got, err := os.ReadFile(filepath.Join(w.dir, "body")); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes came of %d: %v", len(got), len(body), err)
	}
	if res := fetch("ours.pem", "--data-binary", "@{work}/body"); res.Code != 0 || res.Stdout != fmt.Sprintf("%d %s", len(body), sum(body)) {
		t.Errorf("exit status %d, %q %s", res.Code, res.Stdout, res.Stderr)
	}
	before := served.Load()
	const refused = 60 // curl(1): the certificate cannot be checked
	if res := fetch("others.pem"); res.Code != refused || res.Stdout != "" || served.Load() != before {
		t.Errorf("with another's authority: exit status %d, %.40q %s", res.Code, res.Stdout, res.Stderr)
	}
}

// authority signs certificates.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of the tests"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a := &authority{}
	a.key, a.cert, a.pem = certificate(t, template, nil)
	return a
}

// issue makes a certificate for 127.0.0.1.
func (a *authority) issue(t *testing.T) tls.Certificate {
	t.Helper()
	key, cert, _ := certificate(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "server of the tests"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// certificate makes one that by signs, or itself.
func certificate(t *testing.T, template *x509.Certificate, by *authority) (*ecdsa.PrivateKey, *x509.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if by == nil {
		by = &authority{key: key, cert: template}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func rsync() program {
	return program{
		name:   "rsync",
		graft:  []string{"debian:rsync"},
		shared: true,
		nobody: true, // a daemon of root's would become that by itself, which takes a right that no cell has
		wait:   []string{"--files-from=-", "/tmp/", "/tmp/out/"},
		jobs:   []job{{name: "a file", flags: work, args: []string{"-a", "{work}/text", "{work}/copied"}, file: "copied", has: "hello world"}},
		more:   []piece{{name: "between two cells", run: mirrors}},
		read:   copied("-L"),
		list:   copied("-rL"),
	}
}

// copied is one run that copies all paths and names what it has.
func copied(flag string) func([]string) [][]string {
	return func(paths []string) [][]string {
		return [][]string{append(append([]string{flag, "--out-format=READ %n"}, paths...), "/tmp/got/")}
	}
}

// mirrors has a cell serve a tree and another fetch it, twice, over loopback.
func mirrors(t *testing.T, w *world) {
	from, to := filepath.Join(w.dir, "from"), filepath.Join(w.dir, "to")
	w.plantTree(t, from)
	if err := os.Mkdir(to, 0o755); err != nil {
		t.Fatal(err)
	}
	w.give(t, to)
	d := w.serve(t, from)
	fetch := func() rig.Result {
		flags := append([]string{"--unveil", to + ":rw"}, loopback...)
		return w.run(t, flags, []string{"-a", "--delete", "--out-format=%n", fmt.Sprintf("rsync://%s/tree/", d.address), to + "/"}, "")
	}
	if res := fetch(); res.Code != 0 || !strings.Contains(res.Stdout, "a/b/c/script\n") {
		t.Errorf("exit status %d, %s%s\nthe daemon's log: %s", res.Code, res.Stdout, res.Stderr, d.log())
	}
	sameTrees(t, from, to)
	// What has changed goes over, what is gone goes.
	w.root.Write(from+"/note", "hello again\n", 0o600) // still of the same owner
	if err := os.RemoveAll(from + "/many"); err != nil {
		t.Fatal(err)
	}
	if res := fetch(); res.Code != 0 || !strings.Contains(res.Stdout, "note\n") || strings.Contains(res.Stdout, "large\n") {
		t.Errorf("the second time: exit status %d, %s%s\nthe daemon's log: %s", res.Code, res.Stdout, res.Stderr, d.log())
	}
	sameTrees(t, from, to)
	d.stop(t)
}

// plantTree makes a tree with all that rsync -a keeps.
func (w *world) plantTree(t *testing.T, dir string) {
	t.Helper()
	w.root.Write(dir+"/note", "hello world\n", 0o640)
	w.root.Write(dir+"/large", string(pattern(3<<20)), 0o644)
	w.root.Write(dir+"/a/b/c/script", "#!/bin/sh\n", 0o755)
	for i := range 50 {
		w.root.Write(fmt.Sprintf("%s/many/%d", dir, i), strings.Repeat("x", i), 0o644)
	}
	long := time.Date(2020, 2, 2, 2, 2, 2, 0, time.UTC)
	for _, err := range []error{os.Symlink("../note", dir+"/a/link"), os.Mkdir(dir+"/empty", 0o750), os.Chtimes(dir+"/note", long, long)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	w.give(t, dir+"/note")
	w.give(t, dir+"/empty")
}

// daemon is a cell that serves a tree.
type daemon struct {
	w       *world
	address string
	ended   chan error
	said    bytes.Buffer // read when it has ended
}

// serve starts it, and waits until it answers.
func (w *world) serve(t *testing.T, tree string) *daemon {
	t.Helper()
	port := freePort(t)
	d := &daemon{w: w, address: fmt.Sprintf("127.0.0.1:%d", port), ended: make(chan error, 1)}
	conf := filepath.Join(w.root.Base, "rsyncd", "conf")
	w.root.Write(conf, fmt.Sprintf("address = 127.0.0.1\nport = %d\nuse chroot = no\n[tree]\npath = %s\nread only = yes\n", port, tree), 0o644)
	flags := append([]string{"--unveil", conf + ":r", "--unveil", tree + ":r"}, loopback...)
	c := w.command(flags, []string{"--daemon", "--no-detach", "--log-file={home}/log", "--config=" + conf})
	c.Stdout, c.Stderr = &d.said, &d.said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { d.ended <- c.Wait() }()
	t.Cleanup(func() { c.Process.Kill() }) // if the test fails before it is stopped
	rig.Until(t, 20*time.Second, "the daemon answers", d.answers)
	return d
}

func (d *daemon) answers() bool {
	c, err := net.Dial("tcp", d.address)
	if err == nil {
		c.Close()
	}
	return err == nil
}

// log is what the daemon has written into its HOME.
func (d *daemon) log() string {
	text, err := os.ReadFile(filepath.Join(d.w.home, "log"))
	return fmt.Sprintf("%s %v", text, err)
}

// stop ends the cell, and fails the test if anything of it is left.
func (d *daemon) stop(t *testing.T) {
	t.Helper()
	d.w.root.Must("stop", d.w.p.name)
	select {
	case <-d.ended:
		if d.said.Len() > 0 {
			t.Errorf("the daemon said %s", &d.said)
		}
	case <-time.After(20 * time.Second):
		t.Error("the daemon has not ended")
	}
	var cells []json.RawMessage
	if err := json.Unmarshal([]byte(d.w.root.Must("ps", "--json")), &cells); err != nil || len(cells) != 0 {
		t.Errorf("cells run: %s %v", cells, err)
	}
	if d.answers() {
		t.Error("the port still answers")
	}
}

// freePort returns a TCP port that nobody listened at a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
