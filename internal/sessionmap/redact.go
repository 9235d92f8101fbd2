package sessionmap

import (
	"context"
	"errors"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/tiers"
)

// redact replaces the text of an error that a storage composed which isn't ours, and
// that may quote the session's id or content, by the operation and the kind of
// fault.
func redact(op string, err error) error {
	switch err {
	case nil, gsession.ErrorDisabled, tiers.ErrRevoked, tiers.ErrConflict, context.Canceled, context.DeadlineExceeded:
		return err
	}
	switch err.(type) {
	case *tiers.Error:
		return err
	}
	return tiers.NewError("strata: "+op+" failed in the store: "+failure.Explain(err), err)
}

var (
	errRevokedBefore  = tiers.NewError(tiers.ErrRevoked.Error(), tiers.ErrRevoked)
	errConflictBefore = tiers.NewError(tiers.ErrConflict.Error(), tiers.ErrConflict)
)

// refusedBefore is the error of a change that was refused before.
func refusedBefore(err error) error {
	if errors.Is(err, tiers.ErrRevoked) {
		return errRevokedBefore
	}
	return errConflictBefore
}

// RefusedBefore reports whether an error of SetSession is the one that the same close of the
// same map has returned before, as GoFrame closes a session twice: nothing else was lost.
func RefusedBefore(err error) bool {
	return errors.Is(err, errRevokedBefore) || errors.Is(err, errConflictBefore)
}
