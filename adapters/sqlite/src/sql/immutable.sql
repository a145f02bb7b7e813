-- No statement of any program changes or removes what was appended. The third trigger of each table stops
-- INSERT OR REPLACE, which removes rows without telling the second.
CREATE TRIGGER IF NOT EXISTS names_no_update BEFORE UPDATE ON names
BEGIN SELECT RAISE(ABORT, 'the log is immutable'); END;
CREATE TRIGGER IF NOT EXISTS names_no_delete BEFORE DELETE ON names
BEGIN SELECT RAISE(ABORT, 'the log is immutable'); END;
CREATE TRIGGER IF NOT EXISTS names_no_replace BEFORE INSERT ON names
WHEN EXISTS (SELECT 1 FROM names WHERE name_id = NEW.name_id OR name = NEW.name)
BEGIN SELECT RAISE(ABORT, 'the log is immutable'); END;
CREATE TRIGGER IF NOT EXISTS streams_no_update BEFORE UPDATE ON streams
BEGIN SELECT RAISE(ABORT, 'the log is immutable'); END;
CREATE TRIGGER IF NOT EXISTS streams_no_delete BEFORE DELETE ON streams
BEGIN SELECT RAISE(ABORT, 'the log is immutable'); END;
CREATE TRIGGER IF NOT EXISTS streams_no_replace BEFORE INSERT ON streams
WHEN EXISTS (SELECT 1 FROM streams WHERE stream_id = NEW.stream_id OR (category_id = NEW.category_id AND name = NEW.name))
BEGIN SELECT RAISE(ABORT, 'the log is immutable'); END;
CREATE TRIGGER IF NOT EXISTS events_no_update BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the log is immutable'); END;
CREATE TRIGGER IF NOT EXISTS events_no_delete BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'the log is immutable'); END;
CREATE TRIGGER IF NOT EXISTS events_no_replace BEFORE INSERT ON events
WHEN EXISTS (SELECT 1 FROM events WHERE sequence_number = NEW.sequence_number OR id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'the log is immutable'); END;
CREATE TRIGGER IF NOT EXISTS event_tags_no_update BEFORE UPDATE ON event_tags
BEGIN SELECT RAISE(ABORT, 'the log is immutable'); END;
CREATE TRIGGER IF NOT EXISTS event_tags_no_delete BEFORE DELETE ON event_tags
BEGIN SELECT RAISE(ABORT, 'the log is immutable'); END;
CREATE TRIGGER IF NOT EXISTS event_tags_no_replace BEFORE INSERT ON event_tags
WHEN EXISTS (SELECT 1 FROM event_tags WHERE tag_id = NEW.tag_id AND sequence_number = NEW.sequence_number)
BEGIN SELECT RAISE(ABORT, 'the log is immutable'); END;
