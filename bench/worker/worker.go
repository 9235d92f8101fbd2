package worker

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/gf-strata/strata/bench/link"
	"github.com/gf-strata/strata/bench/load"
	"github.com/gf-strata/strata/bench/peers"
)

// Main carries out the asks of standard input, and replies on file 3, until the input ends, and ends the
// process. It returns at once in a process that is no worker.
func Main(subjects []peers.Subject) {
	if os.Getenv(Variable) == "" {
		return
	}
	if err := serve(subjects, os.Stdin, os.NewFile(3, "answers")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(subjects []peers.Subject, asks io.Reader, answers io.Writer) error {
	in, out := gob.NewDecoder(asks), gob.NewEncoder(answers)
	w := &worker{subjects: subjects}
	defer w.close()
	for {
		var ask Ask
		if err := in.Decode(&ask); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		answer, err := w.answer(ask)
		if err != nil {
			var wrong load.Wrong
			answer.Err, answer.Wrong = err.Error(), errors.As(err, &wrong)
		}
		if err = out.Encode(answer); err != nil {
			return err
		}
	}
}

// worker is the state between asks. It belongs to one goroutine.
type worker struct {
	subjects []peers.Subject
	running  *running
	ballast  []map[string]any
	links    map[string]*link.Link // end with the process
}

func (w *worker) answer(ask Ask) (answer Answer, err error) {
	switch ask.What {
	case AskOpen, AskMemory, AskProbe:
		if err = w.close(); err != nil {
			return answer, err
		}
		subject, err := w.find(ask.Subject)
		if err != nil {
			return answer, err
		}
		switch ask.What {
		case AskMemory:
			answer.Memory, err = weigh(subject, ask)
		case AskProbe:
			answer.Keeps, err = probe(subject, ask)
		default:
			if w.ballast == nil {
				for n := range ask.Live {
					w.ballast = append(w.ballast, load.TenKeys.Data(load.ID(63, n)))
				}
			}
			runtime.GC()
			w.running, err = open(subject, ask)
		}
		return answer, err
	case AskGenerate:
		answer.Round, err = generate(ask)
		return answer, err
	case AskLink:
		l, err := link.Start(ask.Addr, ask.Duration)
		if err != nil {
			return answer, err
		}
		if w.links == nil {
			w.links = map[string]*link.Link{}
		}
		answer.Addr = l.Addr()
		w.links[answer.Addr] = l
		return answer, nil
	case AskDistance:
		l, ok := w.links[ask.Addr]
		if !ok {
			return answer, fmt.Errorf("there is no link at %s", ask.Addr)
		}
		l.Set(ask.Duration)
		return answer, nil
	case AskClose:
		return answer, w.close()
	}
	if w.running == nil {
		return answer, fmt.Errorf("%s: no subject is open", ask.What)
	}
	switch ask.What {
	case AskWarm:
		// The same sessions, perhaps with other requests.
		if ask.Job.Workers > 0 {
			if err = w.running.prepare(ask.Job, false); err != nil {
				return answer, err
			}
		}
		if !w.running.ask.Job.Once() {
			_, err = w.running.rounds.run(ctx, ask.Duration, ask.Requests)
		}
	case AskRound:
		answer.Round, err = w.running.round(ask.Duration, ask.Turn)
	case AskServe:
		answer.Addr, err = w.running.serve()
	case AskUsage:
		answer.Round, err = w.running.usage()
	case AskSweep:
		answer.Round, err = w.running.sweep()
	default:
		err = fmt.Errorf("%q isn't what a worker knows", ask.What)
	}
	return answer, err
}

func (w *worker) find(name string) (peers.Subject, error) {
	for _, s := range w.subjects {
		if s.Name == name {
			return s, nil
		}
	}
	return peers.Subject{}, fmt.Errorf("no subject %q", name)
}

func (w *worker) close() (err error) {
	if w.running != nil {
		err = w.running.close()
		w.running = nil
	}
	return err
}
