-- No statement of any program changes or removes what was appended.
CREATE OR REPLACE FUNCTION {refuse}() RETURNS trigger LANGUAGE plpgsql AS $annals$
BEGIN
    RAISE EXCEPTION 'the log is immutable' USING ERRCODE = 'integrity_constraint_violation';
END
$annals$;
DROP TRIGGER IF EXISTS immutable ON {names};
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON {names} EXECUTE FUNCTION {refuse}();
DROP TRIGGER IF EXISTS immutable ON {streams};
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON {streams} EXECUTE FUNCTION {refuse}();
DROP TRIGGER IF EXISTS immutable ON {events};
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON {events} EXECUTE FUNCTION {refuse}();
DROP TRIGGER IF EXISTS immutable ON {event_tags};
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON {event_tags} EXECUTE FUNCTION {refuse}();
