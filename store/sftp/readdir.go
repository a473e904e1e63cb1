package sftp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"golang.org/x/crypto/ssh"
)

// The SDK reads a folder as a whole, however many entries it has. This is as much of the protocol (version 3, draft-ietf-secsh-filexfer-02)
// as it takes to read one piece by piece, on a channel of its own.

// Types of packets.
const (
	packetInit    = 1
	packetVersion = 2
	packetClose   = 4
	packetOpenDir = 11
	packetReadDir = 12
	packetStatus  = 101
	packetHandle  = 102
	packetName    = 104
)

// Which attributes a file has, and what the mode says of its kind.
const (
	attrSize     = 1 << 0
	attrOwner    = 1 << 1
	attrMode     = 1 << 2
	attrTimes    = 1 << 3
	attrExtended = 1 << 31

	kindMask    = 0o170000
	kindFolder  = 0o040000
	kindRegular = 0o100000
)

// maxPacket is the longest packet that is read; OpenSSH sends at most 256 KiB.
const maxPacket = 1 << 20

// askedAhead is how many pieces of a folder are asked for before the first has come; OpenSSH puts 100 entries into one.
const askedAhead = 8

// dirEntry is an entry of a folder.
type dirEntry struct {
	name     string
	size     int64
	mode     uint32 // 0 when the server doesn't say
	modified time.Time
}

func (e dirEntry) isRegular() bool { return e.mode&kindMask == kindRegular }
func (e dirEntry) isFolder() bool  { return e.mode&kindMask == kindFolder }

// dirStream is a channel on which folders are read, one after the other. It is used by one goroutine at a time; close may come at
// any time.
type dirStream struct {
	channel *ssh.Session
	in      io.Writer
	out     io.Reader
	id      uint32
	handle  string // of the folder that is being read; "" between folders
	asked   int    // pieces of it that have not come
	atEnd   bool   // the server has said so
	owed    int    // answers that nobody waits for
}

func newDirStream(c *session) (_ *dirStream, err error) {
	channel, out, in, err := c.channel()
	if err != nil {
		return nil, err
	}
	d := &dirStream{channel: channel, in: in, out: out}
	if err := d.send(packetInit, binary.BigEndian.AppendUint32(nil, 3)); err != nil {
		d.close()
		return nil, err
	}
	if kind, _, err := d.receive(); err != nil || kind != packetVersion {
		d.close()
		return nil, errors.Join(fmt.Errorf("begin SFTP: unexpected packet of type %d", kind), err)
	}
	return d, nil
}

// open begins to read a folder. When the error is an answer of the server's, another folder may be tried.
func (d *dirStream) open(dir string) error {
	if err := d.ask(packetOpenDir, dir); err != nil {
		return err
	}
	for ; d.owed > 0; d.owed-- {
		if _, _, err := d.receive(); err != nil {
			return err
		}
	}
	kind, p, err := d.receive()
	switch {
	case err != nil:
		return err
	case kind == packetStatus:
		return fmt.Errorf("open folder %s: %w", dir, p.status())
	case kind != packetHandle:
		return fmt.Errorf("open folder %s: unexpected packet of type %d", dir, kind)
	}
	p.u32() // the id
	d.handle, d.atEnd = p.str(), false
	return p.err
}

// close gives the channel back, and with it the handle.
func (d *dirStream) close() { d.channel.Close() }

// next returns the next entries, without "." and "..", or none at the end of the folder.
func (d *dirStream) next() ([]dirEntry, error) {
	for {
		for !d.atEnd && d.asked < askedAhead {
			if err := d.ask(packetReadDir, d.handle); err != nil {
				return nil, err
			}
			d.asked++
		}
		if d.asked == 0 {
			d.owed++
			return nil, d.ask(packetClose, d.handle)
		}
		kind, p, err := d.receive()
		if err != nil {
			return nil, err
		}
		d.asked--
		switch kind {
		case packetStatus:
			if err := p.status(); err != io.EOF {
				return nil, fmt.Errorf("read folder: %w", err)
			}
			d.atEnd = true
		case packetName:
			if entries, err := p.names(); err != nil || len(entries) > 0 {
				return entries, err
			}
		default:
			return nil, fmt.Errorf("read folder: unexpected packet of type %d", kind)
		}
	}
}

// ask sends a request that has one string.
func (d *dirStream) ask(kind byte, arg string) error {
	d.id++
	b := binary.BigEndian.AppendUint32(nil, d.id)
	b = binary.BigEndian.AppendUint32(b, uint32(len(arg)))
	return d.send(kind, append(b, arg...))
}

func (d *dirStream) send(kind byte, payload []byte) error {
	b := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)))
	_, err := d.in.Write(append(append(b, kind), payload...))
	return err
}

// receive reads a packet. Answers come in the order of the requests, so their ids are not looked at.
func (d *dirStream) receive() (kind byte, _ *packet, err error) {
	var head [5]byte
	if _, err := io.ReadFull(d.out, head[:]); err != nil {
		return 0, nil, noEOF(err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 1 || n > maxPacket {
		return 0, nil, fmt.Errorf("the server sent a packet of %d bytes", n)
	}
	b := make([]byte, n-1)
	if _, err := io.ReadFull(d.out, b); err != nil {
		return 0, nil, noEOF(err)
	}
	return head[4], &packet{b: b}, nil
}

// noEOF is err where no end was due.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// packet is what is left to read of a packet. The first error is sticky, and makes everything zero.
type packet struct {
	b   []byte
	err error
}

var errShortPacket = errors.New("the server sent a packet that is cut short")

func (p *packet) take(n uint64) []byte {
	if p.err == nil && uint64(len(p.b)) < n {
		p.err, p.b = errShortPacket, nil
	}
	if p.err != nil {
		return make([]byte, min(n, 8))
	}
	taken := p.b[:n]
	p.b = p.b[n:]
	return taken
}

func (p *packet) u32() uint32 { return binary.BigEndian.Uint32(p.take(4)) }
func (p *packet) u64() uint64 { return binary.BigEndian.Uint64(p.take(8)) }

func (p *packet) str() string {
	s := p.take(uint64(p.u32()))
	if p.err != nil {
		return ""
	}
	return string(s)
}

// names reads the entries of a packet of that type.
func (p *packet) names() ([]dirEntry, error) {
	p.u32() // the id
	n := p.u32()
	var entries []dirEntry
	for range n {
		e := dirEntry{name: p.str()}
		p.str() // a line as of ls -l
		p.attributes(&e)
		if p.err != nil {
			return nil, p.err
		}
		if e.name != "." && e.name != ".." {
			entries = append(entries, e)
		}
	}
	return entries, p.err
}

func (p *packet) attributes(e *dirEntry) {
	flags := p.u32()
	if flags&attrSize != 0 {
		e.size = int64(p.u64())
	}
	if flags&attrOwner != 0 {
		p.u64()
	}
	if flags&attrMode != 0 {
		e.mode = p.u32()
	}
	if flags&attrTimes != 0 {
		p.u32()
		e.modified = time.Unix(int64(p.u32()), 0)
	}
	if flags&attrExtended != 0 {
		for n := p.u32(); n > 0 && p.err == nil; n-- {
			p.str()
			p.str()
		}
	}
}

// status is the error that a packet of that type tells; io.EOF at the end of a folder.
func (p *packet) status() error {
	p.u32() // the id
	code, text := p.u32(), p.str()
	switch {
	case p.err != nil:
		return p.err
	case code == codeEOF:
		return io.EOF
	case code == codeNoSuchFile:
		return fs.ErrNotExist
	case code == codePermission:
		return fs.ErrPermission
	}
	return fmt.Errorf("the server says %q (%d)", text, code)
}
