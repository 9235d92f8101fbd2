//go:build !linux

package coalesce_test

import "testing"

// disk is that of a journal; only under Linux a test can have it refuse what comes.
type disk struct{}

func diskOf(*testing.T, string, bool) disk { return disk{} }

func (disk) refuse()  {}
func (disk) restore() {}
func (disk) stay()    {}
func (disk) close()   {}
