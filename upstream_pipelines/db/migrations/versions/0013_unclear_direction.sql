-- A changed mix may be worth more or less: until its interval says which, its direction is unclear. Events stored as
-- improving only because they were not clear become so at the next look.
ALTER TABLE drift_events
    DROP CONSTRAINT drift_events_direction_check,
    ADD CONSTRAINT drift_events_direction_check CHECK (direction IN ('worsening', 'improving', 'unclear'));
