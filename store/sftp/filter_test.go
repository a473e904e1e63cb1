package sftp_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"seawal/internal/storetrial"
	"seawal/internal/testserver"
	"seawal/store"
	"seawal/store/sftp"
)

// filterEnv makes the test binary an SFTP server with a fault: it stands between sshd and the real one.
const filterEnv = "SEAWAL_SFTP_FILTER"

func TestMain(m *testing.M) {
	if fault := os.Getenv(filterEnv); fault != "" {
		if err := filter(fault); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	storetrial.Main(m)
}

// Types of packets that the filter looks for.
const (
	packetWrite    = 6
	packetStatus   = 101
	packetExtended = 200
)

// suspects are the requests whose answers suffer the fault, by id.
type suspects struct {
	mu  sync.Mutex
	ids map[uint32]bool // under mu
}

func (s *suspects) note(p []byte, fault string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fault == "full" && p[0] == packetWrite || strings.HasSuffix(fault, "link") && p[0] == packetExtended && strings.Contains(string(p), "hardlink@") {
		s.ids[binary.BigEndian.Uint32(p[1:])] = true
	}
}

func (s *suspects) has(p []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids[binary.BigEndian.Uint32(p[1:])]
}

// filter passes packets on, but the answers to some: "lose-link" ends the connection when an object has got its name, "hang-link" never
// says so, "full" answers each write as a full disk does.
func filter(fault string) error {
	server := exec.Command("/usr/lib/openssh/sftp-server")
	in, err := server.StdinPipe()
	if err != nil {
		return err
	}
	out, err := server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	bad := &suspects{ids: map[uint32]bool{}}
	go func() {
		defer in.Close()
		for pass(os.Stdin, in, func(p []byte) []byte { bad.note(p, fault); return p }) == nil {
		}
	}()
	for {
		err := pass(out, os.Stdout, func(p []byte) []byte {
			switch {
			case !bad.has(p):
			case fault == "lose-link":
				os.Exit(0)
			case fault == "hang-link":
				return nil
			case fault == "full" && p[0] == packetStatus:
				binary.BigEndian.PutUint32(p[5:], 4)
			}
			return p
		})
		if err != nil {
			return server.Wait()
		}
	}
}

// pass passes a packet on, as f makes it; nil: not at all.
func pass(from io.Reader, to io.Writer, f func([]byte) []byte) error {
	var head [4]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return err
	}
	p := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(from, p); err != nil {
		return err
	}
	if p = f(p); p == nil {
		return nil
	}
	_, err := to.Write(slices.Concat(head[:], p))
	return err
}

// filtered returns the store on a folder with a fault, and without.
func filtered(t *testing.T, fault string, o sftp.Options) (bad, good store.Store) {
	t.Helper()
	server := testserver.SFTP(t)
	rawURL := server.URL(server.Addr, fmt.Sprintf("filtered-%d", folders.Add(1)))
	key := server.KeyFor(t, filterEnv+"="+fault+" "+os.Args[0])
	return sftp.OpenWith(t, with(t, rawURL, "identity", key), o), sftp.OpenWith(t, rawURL, sftp.Options{})
}

// The object has got its name and the answer is lost, with the connection or without: the outcome is unknown, and the next attempt is
// told that the name is taken.
func TestLostAcknowledgement(t *testing.T) {
	for _, fault := range []string{"lose-link", "hang-link"} {
		t.Run(fault, func(t *testing.T) {
			// Keepalives are answered: it is SFTP that is silent.
			bad, good := filtered(t, fault, sftp.Options{Patience: 5 * time.Second, Keepalive: 50 * time.Millisecond})
			for {
				err := put(t, bad, "a")
				if err == nil || errors.Is(err, store.ErrExist) || store.IsPermanent(err) {
					t.Fatalf("first attempt: %v; want an unknown outcome", err)
				}
				if _, err := good.Stat(t.Context(), "a"); err == nil {
					break
				} // else the machine was so slow that the patience ended before the object had its name
			}
			for _, s := range []store.Store{bad, good} {
				if err := put(t, s, "a"); !errors.Is(err, store.ErrExist) {
					t.Errorf("second attempt: %v; want ErrExist", err)
				}
			}
			if o, err := good.Stat(t.Context(), "a"); err != nil || o.Size != 7 {
				t.Errorf("%+v, %v", o, err)
			}
		})
	}
}

// A full disk is worth another attempt: it may be emptied without anybody thinking of us.
func TestFullDisk(t *testing.T) {
	bad, good := filtered(t, "full", sftp.Options{})
	for name, size := range map[string]int{"small": 100, "large": 20 << 20} {
		err := bad.Create(t.Context(), name, store.BytesBody(make([]byte, size)))
		if err == nil || store.IsPermanent(err) || !strings.Contains(err.Error(), "is its disk or a quota full?") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := good.Stat(t.Context(), name); !errors.Is(err, store.ErrNotExist) {
			t.Errorf("%s: stat: %v", name, err)
		}
	}
}
