package main

// The commands of the driver.
const (
	askBegin   = "begin"   // set up the round's sessions
	askRun     = "run"     // serve requests until askHalt
	askHalt    = "halt"    // returns the records
	askRead    = "read"    // read the ids once
	askMeasure = "measure" // serve Count requests, 95 % of them reads
	askOwn     = "own"     // write and read Count times; Misses are the reads that went to the server
	askWrite   = "write"   // write version Count of an id
	askFollow  = "follow"  // poll an id until it shows Count; Records say when it did
	askEnd     = "end"
)

// Ask is one command of the driver.
type Ask struct {
	What  string
	Round int
	IDs   []string
	Count int
	Nodes int
}

// Answer is a node's reply to an Ask, one for each, in their order.
type Answer struct {
	Records []Record
	Failed  int // reads that returned an error
	Stalls  []Stall
	Timings []Timing
	Audits  Audits         // of the node's life
	Misses  map[string]int // by what kept memory from serving
	Err     string
}

// Audits are hits that were compared with the store: the same, different as far as the
// contract allows, and beyond.
type Audits struct{ Same, Changed, Differs int64 }
