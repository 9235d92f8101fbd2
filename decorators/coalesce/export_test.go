package coalesce

// BreakJournal has the journal refuse records from now on.
func BreakJournal(s *Storage) { _ = s.lanes.journal.Close() }
