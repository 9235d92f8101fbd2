package worker

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
)

// response reads the body of one response, of a known length or in chunks, as ghttp
// sends it.
func response(in *bufio.Reader, body []byte) ([]byte, error) {
	length, chunked := -1, false
	for {
		line, err := line(in)
		if err != nil {
			return nil, err
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return nil, err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		}
	}
	if !chunked {
		return more(in, body[:0], length)
	}
	for body = body[:0]; ; {
		size, err := line(in)
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseUint(string(size), 16, 31)
		if err != nil {
			return nil, err
		}
		if body, err = more(in, body, int(n)); err != nil {
			return nil, err
		}
		if _, err = line(in); err != nil || n == 0 {
			return body, err
		}
	}
}

// line is one line without its end.
func line(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	return bytes.TrimSpace(line), err
}

// more appends n bytes.
func more(in *bufio.Reader, body []byte, n int) ([]byte, error) {
	if n < 0 || n > 1<<20 {
		return nil, fmt.Errorf("a response of %d bytes, which the server never gives", n)
	}
	old := len(body)
	body = append(body, make([]byte, n)...)
	_, err := io.ReadFull(in, body[old:])
	return body, err
}
