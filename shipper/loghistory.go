package shipper

import (
	"context"
	"io"

	"seawal/internal/pagesum"
	"seawal/internal/wal"
)

// logHistory is what a database with a log was before: state 0 is the file alone, state i the file with the first i
// commits of the log. States that a checkpoint has brought more than that into the file are not what they were, and equal nothing.
type logHistory struct {
	p      *pinned
	hasher *pagesum.Hasher
	file   *pagesum.Table // sums of the file; nil when the log is empty
	states []pagesum.Sum  // their checksums
	places []wal.Place    // where each ends
}

// read finds the states.
func (h *logHistory) read(ctx context.Context) error {
	if h.file == nil {
		return nil
	}
	add := func(t *pagesum.Table, place wal.Place) {
		h.states, h.places = append(h.states, t.Total()), append(h.places, place)
	}
	t := h.file.Clone()
	rd := wal.NewReader(h.p.log, h.p.header, h.p.header.Start())
	add(t, rd.Place())
	var frame wal.Frame
	for rd.Place().Frame < h.p.Place().Frame {
		err := rd.Next(&frame)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF // the index of p has read it
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		t.Set(frame.Page, h.hasher.Of(frame.Page, frame.Data))
		if frame.Commit == 0 {
			continue
		}
		t.Truncate(frame.Commit)
		add(t, rd.Place())
	}
	return nil
}

// hasPlace says whether the log has a place.
func (h *logHistory) hasPlace(place wal.Place) bool {
	if end := h.p.Place(); !place.SameGeneration(end) || place.Frame > end.Frame {
		return false
	}
	at, err := h.p.header.PlaceAt(h.p.log, place.Frame)
	return err == nil && at == place
}
