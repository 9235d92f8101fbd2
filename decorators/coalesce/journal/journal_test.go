package journal_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/gf-strata/strata/decorators/coalesce/journal"
	"github.com/gf-strata/strata/internal/leaktest"
)

var ctx = context.Background()

func TestMain(m *testing.M) { leaktest.Main(m) }

func open(t *testing.T, dir string) (*journal.Journal, []string, int) {
	t.Helper()
	j, records, damaged, err := journal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	var contents []string
	for _, r := range records {
		contents = append(contents, string(r.Content))
	}
	return j, contents, damaged
}

func add(t *testing.T, j *journal.Journal, content string) uint64 {
	t.Helper()
	entry := uint64(0)
	put(t, j, &entry, content)
	return entry
}

func put(t *testing.T, j *journal.Journal, entry *uint64, content string) {
	t.Helper()
	if err, _ := j.Put(entry, func() []byte { return []byte(content) }).Wait(ctx); err != nil {
		t.Fatal(err)
	}
}

// copyOf is the journal as a process finds it that starts after this one was killed.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, "pending.db"))
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "pending.db"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	return other
}

func TestWhatIsSyncedIsThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	j, records, _ := open(t, dir)
	if len(records) != 0 {
		t.Fatalf("a new journal holds %v", records)
	}
	one, two, three := add(t, j, "one"), add(t, j, "two"), add(t, j, "three")
	_, found, damaged := open(t, copyOf(t, dir))
	if !slices.Equal(found, []string{"one", "two", "three"}) || damaged != 0 {
		t.Errorf("after a kill the journal holds %v, %d damaged", found, damaged)
	}
	j.Drop(&one)
	j.Drop(&three)
	if err, _ := j.Next().Wait(ctx); err != nil {
		t.Fatal(err)
	}
	again, found, _ := open(t, copyOf(t, dir))
	if !slices.Equal(found, []string{"two"}) {
		t.Errorf("after two were dropped the journal holds %v", found)
	}
	if next := add(t, again, "four"); next <= two {
		t.Errorf("entry %d was given out again, after %d", next, two)
	}
}

func TestManyShareOneSync(t *testing.T) {
	dir := t.TempDir()
	j, _, _ := open(t, dir)
	var group sync.WaitGroup
	for writer := range 32 {
		group.Go(func() {
			for n := range 20 {
				entry := add(t, j, fmt.Sprint(writer, n))
				if n%2 == 0 {
					j.Drop(&entry)
				}
			}
		})
	}
	group.Wait()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if _, found, _ := open(t, dir); len(found) != 32*10 {
		t.Errorf("%d records, want 320", len(found))
	}
}

// A transaction whose end didn't reach the disk is not there, and harms no other: the
// newest meta page is torn here, and the one before counts.
func TestATornTailIsCut(t *testing.T) {
	dir := t.TempDir()
	j, _, _ := open(t, dir)
	add(t, j, "one")
	add(t, j, "two")
	torn := copyOf(t, dir)
	path := filepath.Join(torn, "pending.db")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	const txid = 16 + 48 // of bbolt's meta page: behind the page's head
	newest := 0
	if binary.LittleEndian.Uint64(content[page+txid:]) > binary.LittleEndian.Uint64(content[txid:]) {
		newest = page
	}
	clear(content[newest+40 : newest+100])
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, found, _ := open(t, torn); !slices.Equal(found, []string{"one"}) {
		t.Errorf("behind a torn tail the journal holds %v, want the transaction before", found)
	}
}

func TestADamagedRecordIsCountedAndDropped(t *testing.T) {
	dir := t.TempDir()
	j, _, _ := open(t, dir)
	add(t, j, "one")
	add(t, j, "two is damaged")
	add(t, j, "three")
	damaged := copyOf(t, dir)
	path := filepath.Join(damaged, "pending.db")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content = []byte(strings.ReplaceAll(string(content), "two is damaged", "two is DAMAGED"))
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	again, found, n := open(t, damaged)
	if !slices.Equal(found, []string{"one", "three"}) || n != 1 {
		t.Errorf("the journal holds %v, %d damaged; want one and three, 1 damaged", found, n)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, n := open(t, damaged); n != 0 {
		t.Errorf("%d records are still damaged", n)
	}
}

func TestAJournalBelongsToOneProcess(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, _, _, err := journal.Open(dir); err == nil || !strings.Contains(err.Error(), "directory of its own") {
		t.Errorf("opened twice: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "pending.db")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file can be read by others: %v, %v", info.Mode(), err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("no directory"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := journal.Open(file); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("a file in place of the directory: %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "pending.db"), []byte(strings.Repeat("no journal", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := journal.Open(dir); err == nil || !strings.Contains(err.Error(), "move its file away") {
		t.Errorf("another file in its place: %v", err)
	}
}

func TestAClosedJournalSaysSo(t *testing.T) {
	j, _, _ := open(t, t.TempDir())
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err, _ := j.Put(new(uint64), func() []byte { return nil }).Wait(ctx); err == nil {
		t.Error("a record was taken after Close")
	}
	if err, _ := j.Next().Wait(ctx); err != nil {
		t.Error(err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

// BenchmarkAppend is a record that 16 callers at a time wait for to be on the disk.
func BenchmarkAppend(b *testing.B) {
	j, _, _, err := journal.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	record := []byte(strings.Repeat("x", 300))
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			entry := uint64(0)
			if err, _ := j.Put(&entry, func() []byte { return record }).Wait(ctx); err != nil {
				b.Error(err)
			}
			j.Drop(&entry)
		}
	})
}

// A record is what was put last, however often, and the file doesn't grow by it.
func TestARecordIsRewritten(t *testing.T) {
	dir := t.TempDir()
	j, _, _ := open(t, dir)
	var entries []uint64
	for range 16 {
		entries = append(entries, add(t, j, "first"))
	}
	const size = 4000
	largest := int64(0)
	for n := range 300 {
		for _, entry := range entries {
			j.Put(&entry, func() []byte { return []byte(strings.Repeat("x", size-1) + fmt.Sprint(n%10)) })
		}
		if err, _ := j.Next().Wait(ctx); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, "pending.db"))
		if err != nil {
			t.Fatal(err)
		}
		largest = max(largest, info.Size())
	}
	_, found, _ := open(t, copyOf(t, dir))
	if len(found) != 16 || !strings.HasSuffix(found[0], "x9") {
		t.Errorf("the journal holds %d records, want 16 of the last round", len(found))
	}
	if largest > 4*16*size+128<<10 {
		t.Errorf("the file has grown to %d bytes for records of %d", largest, 16*size)
	}
}

// leaves are the pages of a file that have, or had, the record 42 of 201, so that others follow.
func leaves(t *testing.T, file []byte) (pages [][]byte) {
	t.Helper()
	size := os.Getpagesize()
	for page := range slices.Chunk(file, size) {
		if bytes.Contains(page, []byte("42"+strings.Repeat("x", 400))) && binary.NativeEndian.Uint16(page[8:]) == 2 {
			pages = append(pages, page)
		}
	}
	if len(pages) == 0 {
		t.Fatal("no page has the record 42")
	}
	return pages
}

// A process that was killed when it had made the file has left an empty one.
func TestAnEmptyFileIsANewJournal(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "pending.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	j, records, damaged := open(t, dir)
	if add(t, j, "one"); len(records)+damaged != 0 {
		t.Errorf("%v records, %d damaged", records, damaged)
	}
}

// The process that made the file was killed before the first transaction.
func TestAFileWithoutATransactionIsANewJournal(t *testing.T) {
	dir := t.TempDir()
	db, err := bbolt.Open(filepath.Join(dir, "pending.db"), 0o600, nil)
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	j, records, damaged := open(t, dir)
	if len(records) > 0 || damaged > 0 {
		t.Errorf("%d records, %d of them damaged", len(records), damaged)
	}
	add(t, j, "a")
	if _, records, _ := open(t, copyOf(t, dir)); !slices.Equal(records, []string{"a"}) {
		t.Errorf("found %q", records)
	}
}

// Every damage of the file is an error of Open's, and leaves the file as it is.
func TestADamagedFileIsAnError(t *testing.T) {
	dir := t.TempDir()
	j, _, _ := open(t, dir)
	for n := range 200 {
		add(t, j, fmt.Sprint(n, strings.Repeat("x", 400)))
	}
	big := add(t, j, strings.Repeat("overflow", 4000))
	if big != 201 {
		t.Fatal(big)
	}
	content, err := os.ReadFile(filepath.Join(copyOf(t, dir), "pending.db"))
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	reopen := func(b []byte) (int, error) {
		dir := t.TempDir()
		path := filepath.Join(dir, "pending.db")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		j, records, damaged, err := journal.Open(dir)
		if err == nil {
			return len(records) + damaged, j.Close()
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(after, b) {
			t.Error("a file that can't be read was changed")
		}
		return 0, err
	}
	if n, err := reopen(content); n != 201 || err != nil {
		t.Fatalf("the whole file has %d records, %v", n, err)
	}
	for name, spoil := range map[string]func(b []byte) []byte{
		"garbage":             func(b []byte) []byte { return []byte(strings.Repeat("garbage!", 4096)) },
		"both heads":          func(b []byte) []byte { clear(b[16:100]); clear(b[page+16 : page+100]); return b },
		"cut behind the head": func(b []byte) []byte { return b[:2*page] },
		"cut in the middle":   func(b []byte) []byte { return b[:len(b)/2] },
		"nothing but a head":  func(b []byte) []byte { return b[:page] },
		"a few bytes":         func(b []byte) []byte { return b[:10] },
		"a key of another page": func(b []byte) []byte {
			for _, page := range leaves(t, b) {
				last := page[16*int(binary.NativeEndian.Uint16(page[10:])):]
				last[binary.NativeEndian.Uint32(last[4:])] = 1 // its first byte
			}
			return b
		},
		"a record that is marked as a bucket": func(b []byte) []byte {
			for _, page := range leaves(t, b) {
				page[16] = 1 | 2
			}
			return b
		},
	} {
		if _, err := reopen(spoil(slices.Clone(content))); err == nil || !strings.Contains(err.Error(), "journal is damaged") || !strings.Contains(err.Error(), "move its file away") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Each page in turn is another one, empty, or has wild numbers in it: that is found, or
	// nothing refers to the page.
	random := rand.New(rand.NewPCG(1, 2))
	for n := 2; (n+1)*page <= len(content); n++ {
		for range 4 {
			spoiled := slices.Clone(content)
			switch random.IntN(3) {
			case 0:
				copy(spoiled[n*page:(n+1)*page], content[random.IntN(len(content)/page)*page:])
			case 1:
				clear(spoiled[n*page : (n+1)*page])
			default:
				for range 3 {
					binary.NativeEndian.PutUint32(spoiled[n*page+4*random.IntN(40):], random.Uint32())
				}
			}
			if _, err := reopen(spoiled); err != nil && !strings.Contains(err.Error(), "journal is damaged") {
				t.Errorf("page %d: %v", n, err)
			}
		}
	}
}

// However often a record is put while the disk hangs, nothing is kept of that but what it is by then.
func TestADiskThatHangsTakesNoMemory(t *testing.T) {
	j, _, _ := open(t, t.TempDir())
	begun, hangs := make(chan struct{}), make(chan struct{})
	j.Put(new(uint64), func() []byte { close(begun); <-hangs; return nil })
	<-begun
	entry, encode := uint64(0), func() []byte { return []byte("x") }
	first := j.Put(&entry, encode)
	if n := testing.AllocsPerRun(1000, func() {
		if j.Put(&entry, encode) != first {
			t.Error("two puts that wait for the same transaction have different ones")
		}
	}); n > 0 {
		t.Errorf("each put allocates %v times", n)
	}
	close(hangs)
	if err, _ := first.Wait(ctx); err != nil {
		t.Error(err)
	}
}
