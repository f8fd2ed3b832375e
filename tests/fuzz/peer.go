// Read tars as engines do, with Go's archive/tar, and say what is in them.
//
// On stdin: tars, each behind its length (four bytes, big-endian). On stdout: a line of JSON for
// each, with the entries up to the end or the error. Bytes are base64.
package main

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"io"
	"os"
	"strings"
)

// Files beyond readMax are not read, a hole costs nothing to say and much to fill; what is in files
// beyond contentMax is not told.
const contentMax, readMax = 1 << 20, 64 << 20

const xattr = "SCHILY.xattr."

type entry struct {
	Name, Link, Sha256 []byte
	Type               byte
	Mode, Size         int64
	UID, GID           int
	Seconds            int64
	Nanoseconds        int
	Major, Minor       int64
	Xattrs             [][2][]byte
}

type answer struct {
	Entries []entry
	Error   string
}

// What engines read from is a pipe or an inflater: it cannot seek.
type stream struct{ io.Reader }

func read(from io.Reader) (found answer) {
	reader := tar.NewReader(stream{from})
	for {
		header, err := reader.Next()
		if err == io.EOF {
			return found
		}
		if err != nil {
			found.Error = err.Error()
			return found
		}
		said := entry{
			Name: []byte(header.Name), Link: []byte(header.Linkname), Type: header.Typeflag,
			Mode: header.Mode, Size: header.Size, UID: header.Uid, GID: header.Gid,
			Seconds: header.ModTime.Unix(), Nanoseconds: header.ModTime.Nanosecond(),
			Major: header.Devmajor, Minor: header.Devminor,
		}
		for key, value := range header.PAXRecords {
			if strings.HasPrefix(key, xattr) {
				name := strings.TrimPrefix(key, xattr)
				said.Xattrs = append(said.Xattrs, [2][]byte{[]byte(name), []byte(value)})
			}
		}
		if header.Size <= readMax {
			hash, to := sha256.New(), io.Discard
			if header.Size <= contentMax {
				to = hash
			}
			if _, err := io.Copy(to, reader); err != nil {
				found.Error = err.Error()
				return found
			}
			said.Sha256 = hash.Sum(nil)
		}
		found.Entries = append(found.Entries, said)
	}
}

func main() {
	in, out := bufio.NewReaderSize(os.Stdin, 1<<20), bufio.NewWriter(os.Stdout)
	lines := json.NewEncoder(out)
	for {
		var size uint32
		if err := binary.Read(in, binary.BigEndian, &size); err == io.EOF {
			return
		} else if err != nil {
			panic(err)
		}
		tar := io.LimitReader(in, int64(size))
		found := read(tar)
		io.Copy(io.Discard, tar)
		if err := lines.Encode(found); err != nil {
			panic(err)
		}
		out.Flush()
	}
}
